"""Output of the commands: progress on standard error, tables and JSON on standard output."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from brevitas_defakeq.evaluation.reversed_labels import reversed_notes
from brevitas_defakeq.progress import ProgressCallback, silent
from brevitas_defakeq.report.fidelity_table import fidelity_tables, flips_cell, flips_interval

#: Variant -> its label, in the order of the rows.
_VARIANTS = {
    "float": "float",
    "round_to_nearest": "round to nearest",
    "round_to_nearest_above": "round to nearest, one bit more",
    "quantized": "DeFakeQ (M_q)",
    "mixed": "DeFakeQ, channels restored (M_q^v)",
}


@contextmanager
def stages() -> Iterator[ProgressCallback]:
    """A progress callback that draws a bar with the time left for each stage, on a terminal only."""
    columns = (TextColumn("{task.description:>12}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    console = Console(stderr=True)
    if not console.is_terminal:
        yield silent
        return
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as progress:
        tasks: dict[str, TaskID] = {}

        def on_progress(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                for earlier in tasks.values():
                    progress.update(earlier, completed=progress.tasks[earlier].total)
                tasks[stage] = progress.add_task(stage, total=total)
            if total > 1 or progress.tasks[tasks[stage]].total == 1:
                progress.update(tasks[stage], completed=done, total=total)

        yield on_progress
        for task in tasks.values():
            progress.update(task, completed=progress.tasks[task].total)


def show(content: dict[str, Any], *tables: Table, as_json: bool) -> None:
    """Print the tables, or ``content`` as one JSON object; the tables then go to standard error."""
    if as_json:
        print(json.dumps(content, ensure_ascii=False))
    Console(stderr=as_json, width=None if sys.stdout.isatty() else 110).print(*tables)


def run_tables(report: dict[str, Any]) -> list[Table]:
    """What a run's ``report.json`` says of its variants: `comparison`, then the verdicts that they change."""
    metrics = report["metrics"]
    others = {
        label: metrics[name] for name, label in _VARIANTS.items() if name in metrics and name != "float"
    }
    return [comparison(report), *fidelity_tables(others)]


def comparison(report: dict[str, Any]) -> Table:
    """The metrics in a run's ``report.json``, one row per variant."""
    metrics = report["metrics"]
    tested = "auc" in metrics["float"]
    datasets = sorted(metrics["float"].get("per_dataset", {}))
    datasets = [name for name in datasets if "auc" in metrics["float"]["per_dataset"][name]]
    title = f"{report['detector']['name']}: {report['average_bits']:.2f} bits a weight on average"
    caption = [_on_chip(report["hardware"])] if "hardware" in report else []
    if not tested:
        caption.append("no test data: fidelity on held-out calibration images")
    if report["detector"].get("untrained"):
        caption.append("the detector's weights are random: no number here says anything about its quality")
    caption += reversed_notes({"float": metrics["float"]})
    table = Table(title=title, caption="\n".join(caption) or None)
    table.add_column("detector")
    for column in (["AUC", "95 % interval"] if tested else []) + datasets * (len(datasets) > 1):
        table.add_column(column, justify="right")
    for column in ("verdicts as float", "flips", "kB", "size"):
        table.add_column(column, justify="right")
    for variant, label in _VARIANTS.items():
        if variant in metrics:
            table.add_row(label, *_cells(metrics[variant], tested, datasets), *_size(report, variant))
    return table


def _on_chip(hardware: dict[str, Any]) -> str:
    needs = ", ".join(f"{name} {count:,.0f}" for name, count in hardware["estimated"].items())
    return f"estimated on {hardware['board']}: {needs}"


def _cells(metrics: dict[str, Any], tested: bool, datasets: list[str]) -> list[str]:
    cells = []
    if tested:
        low, high = metrics["auc_interval"]
        cells = [f"{metrics['auc']:.4f}", f"{low:.3f}-{high:.3f}"]
    if len(datasets) > 1:
        cells += [f"{metrics['per_dataset'][name]['auc']:.4f}" for name in datasets]
    close = metrics["fidelity"]
    return [*cells, f"{100 * close['verdict_agreement']:.1f} %", flips_cell(close)]


def _size(report: dict[str, Any], variant: str) -> list[str]:
    sizes = report["size_bytes"]
    if variant not in sizes:
        return ["", ""]
    return [f"{sizes[variant] / 1e3:,.0f}", f"{100 * sizes[variant] / sizes['float']:.1f} %"]


def latencies(found: dict[str, Any]) -> Table:
    """Latency, memory and size of ONNX files, as ``runtime.latency.latency`` returns them."""
    table = Table(title=f"batch 1, {found['threads']} thread(s), onnxruntime {found['onnxruntime']}")
    table.add_column("file")
    for column in ("median ms", "10-90 %", "ratio", "memory MB", "kB"):
        table.add_column(column, justify="right")
    for file in found["files"]:
        memory = file["peak_memory_bytes"]
        table.add_row(
            file["path"], f"{file['median_ms']:.2f}", f"{file['p10_ms']:.2f}-{file['p90_ms']:.2f}",
            f"{file['ratio']:.2f}", "" if memory is None else f"{memory / 1e6:.0f}",
            f"{file['file_bytes'] / 1e3:,.0f}",
        )  # fmt: skip
    return table


def card_table(card: dict[str, Any]) -> Table:
    """A model card: what is in the file, how well it agrees with the model, and that with the float one."""
    sizes = card["bytes"]
    sent = sizes.get("model.onnx.gz", sizes["file"])
    unpacked = "" if sent == sizes["file"] else f", {sizes['file'] / 1e3:,.0f} kB unpacked"
    table = Table(title=f"{card['name']} for {card['format']}: {sent / 1e3:,.0f} kB{unpacked}")
    table.add_column("in the file and in the runtime")
    table.add_column("count", justify="right")
    for pattern, count in card["patterns"].items():
        table.add_row(pattern, str(count))
    checked, caption = card["provenance"]["agreement"], []
    if checked:
        caption.append(
            f"{100 * checked['verdicts']:.1f} % of {checked['images']} verdicts as the model's; "
            f"scores off by {100 * checked['difference']:.2f} % of their spread"
        )
    close = (card["auc"] or {}).get("fidelity", {})
    if "flips" in close:
        caption.append(
            f"in the run {flips_cell(close)} flips ({flips_interval(close)}) against float, "
            f"largest change of P(fake) {close['largest_probability_change']:.3f}"
        )
    table.caption = "\n".join(caption) or None
    return table


def detector_table(rows: list[dict[str, Any]]) -> Table:
    """The detectors in the registry."""
    table = Table(title="detectors known by name; any timm name and module:factory work too")
    table.add_column("name", no_wrap=True)
    for column in ("parameters", "input", "faces", "what it is", "weights"):
        table.add_column(column, justify="right" if column == "parameters" else "left")
    table.caption = "licences, papers and preprocessing: --json"
    for row in rows:
        height, width = row["input_size"]
        crop = row["crop"]["kind"] if row["crop"] else "your crops"
        table.add_row(
            row["name"], f"{row['parameters']:,}", f"{height} x {width}", crop, row["description"],
            row["weights"],
        )  # fmt: skip
    return table
