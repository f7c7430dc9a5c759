"""Writes the diagram and the table of README.md from the run folder that ``defakeq demo`` wrote.

Usage: python benchmarks/demo_chart.py defakeq-demo docs/demo.svg README.md
"""

import json
import sys
from pathlib import Path

WIDTH, HEIGHT, LEFT, TOP = 900, 300, 50, 64
VARIANTS = {
    "float": "float",
    "round_to_nearest": "round to nearest, 3 bits everywhere",
    "quantized": "DeFakeQ, 3 bits on average",
    "mixed": "DeFakeQ, channels restored",
}
COLOURS = {2: "#9ecae1", 3: "#6baed6", 4: "#4292c6", 6: "#2171b5", 8: "#084594"}


def bars(layers: list[dict], bits: dict[str, float]) -> str:
    """One bar a layer, in data-flow order; its height is its width in bits."""
    step = (WIDTH - LEFT - 20) / len(layers)
    scale = (HEIGHT - TOP - 50) / 8
    floor = HEIGHT - 40
    shapes = []
    for index, layer in enumerate(layers):
        width = bits[layer["name"]]
        weights = 1
        for size in layer["weight_shape"]:
            weights *= size
        shapes.append(
            f'<rect x="{LEFT + index * step:.1f}" y="{floor - width * scale:.1f}" width="{step * 0.84:.1f}" '
            f'height="{width * scale:.1f}" fill="{COLOURS.get(round(width), "#777")}">'
            f"<title>{layer['name']}: {width:g} bits, {weights:,} weights</title></rect>"
        )
    for mark in (2, 4, 6, 8):
        y = floor - mark * scale
        shapes.append(
            f'<line x1="{LEFT}" x2="{WIDTH - 20}" y1="{y:.1f}" y2="{y:.1f}" stroke="#bbb" '
            'stroke-dasharray="2 4"/>'
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{mark}</text>'
        )
    shapes.append(f'<text x="{LEFT}" y="{HEIGHT - 14}">first layer</text>')
    shapes.append(f'<text x="{WIDTH - 20}" y="{HEIGHT - 14}" text-anchor="end">last layer</text>')
    return "\n".join(shapes)


def headline(report: dict) -> str:
    """Size and AUC of the float detector, of plain rounding and of this run."""
    metrics, size = report["metrics"], report["size_bytes"]
    ratio = 100 * size["quantized"] / size["float"]
    return (
        f"{report['detector']['name']} at {report['average_bits']:.2f} bits a weight: "
        f"{size['float'] / 1e6:.1f} MB to {size['quantized'] / 1e6:.2f} MB ({ratio:.1f} %), "
        f"AUC {metrics['float']['auc']:.3f} to {metrics['quantized']['auc']:.3f} "
        f"(plain rounding {metrics['round_to_nearest']['auc']:.3f})"
    )


def table(report: dict) -> str:
    """Markdown: AUC in and across domain, verdicts and size of every variant."""
    lines = [
        "| `defakeq demo` | AUC in domain | AUC across | verdicts as float | size |",
        "|---|---|---|---|---|",
    ]
    for variant, label in VARIANTS.items():
        metrics, size = report["metrics"][variant], report["size_bytes"].get(variant)
        known, unknown = (metrics["per_dataset"][name]["auc"] for name in ("in domain", "cross domain"))
        verdicts = f"{100 * metrics['fidelity']['verdict_agreement']:.1f} %"
        share = f"{100 * size / report['size_bytes']['float']:.1f} %" if size else ""
        lines.append(f"| {label} | {known:.4f} | {unknown:.4f} | {verdicts} | {share} |")
    return "\n".join(lines)


def put_table(readme: Path, text: str) -> None:
    """Replace the text between the result marks of the README."""
    begin, end = "<!-- results:begin -->", "<!-- results:end -->"
    before, rest = readme.read_text().split(begin)
    readme.write_text(f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}")


def main() -> None:
    run, target, readme = (Path(argument) for argument in sys.argv[1:4])
    settings = json.loads((run / "config.json").read_text())
    report = json.loads((run / "report.json").read_text())
    put_table(readme, table(report))
    target.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12" fill="#333">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n'
        f'<text x="{LEFT}" y="24" font-size="15">{headline(report)}</text>\n'
        f'<text x="{LEFT}" y="44">bits of each layer, chosen by HAQ</text>\n'
        f"{bars(settings['plan']['layers'], settings['bits'])}\n</svg>\n"
    )


if __name__ == "__main__":
    main()
