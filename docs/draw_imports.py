"""Draws ``docs/architecture.svg`` from the imports of the package: ``python docs/draw_imports.py``.

A box is a package, an arrow an import. Arrows that others imply are left out: where a imports b and b imports
c, the arrow from a to c is not drawn. The modules beside the packages are one box, ``COMMANDS``.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "brevitas_defakeq"
DRAWING = ROOT / "docs" / "architecture.svg"
COMMANDS = "cli, api, pipeline"

#: Package -> column and row of its box, and what it does. Imports point to lower rows.
BOXES = {
    COMMANDS: (1.5, 8, "commands, the Python API, the order of the stages"),
    "table": (1, 7, "detectors x datasets x methods"),
    "report": (0, 7, "tables in the terminal"),
    "export": (1, 6, "ONNX, QONNX, FINN, mobile formats"),
    "evaluation": (0, 5, "metrics, intervals, robustness"),
    "detectors": (0, 4, "names, weights, outputs"),
    "data": (0, 3, "sources, splits, face crops"),
    "runtime": (0, 2, "runs exported files, no torch"),
    "imaging": (0, 1, "crop, resize, preprocessing"),
    "utils": (0, 0, "errors, files"),
    "saliency": (2, 5, "maps, float beside quantized"),
    "storage": (1, 5, "codes packed at their width"),
    "reconstruct": (2.8, 4, "block reconstruction (eq. 7)"),
    "haq": (2.3, 3, "bit-widths (eq. 2 to 6)"),
    "veft": (3.25, 3, "float channels, alignment (eq. 9)"),
    "prepare": (2, 2, "folding, quantizers, calibration"),
    "nn": (2.2, 0, "layer kinds, attention, padding"),
    "quant": (2.6, 1, "quantizers, widths"),
}
_WIDTH, _HEIGHT, _STEP_X, _STEP_Y = 210, 44, 240, 74
_TOP = max(row for _, row, _ in BOXES.values())


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of all that a file imports, at the top or in a function (none is relative).

    ``from a import b`` counts as a.b, whether b is a module or something in one.
    """
    for node in ast.walk(ast.parse(file.read_text(), filename=str(file))):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)


def package_imports() -> set[tuple[str, str]]:
    """(importer, imported) for the packages; the modules beside them import as ``COMMANDS``."""
    pairs = set()
    for file in PACKAGE.rglob("*.py"):
        folder = file.relative_to(PACKAGE).parts[0]
        importer = folder if folder in BOXES else COMMANDS
        names = (name.split(".") for _, name in imports(file))
        pairs |= {(importer, name[1]) for name in names if name[0] == PACKAGE.name and name[1] in BOXES}
    return {(importer, imported) for importer, imported in pairs if importer != imported}


def without_implied(pairs: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The pairs that no path over other pairs implies. They must not form a cycle."""

    def reaches(start: str, end: str) -> bool:
        return any(a == start and (b == end or reaches(b, end)) for a, b in pairs)

    return {(a, c) for a, c in pairs if not any(b != c and reaches(b, c) for x, b in pairs if x == a)}


def _corner(name: str) -> tuple[float, float]:
    column, row, _ = BOXES[name]
    return 16 + column * _STEP_X, 16 + (_TOP - row) * _STEP_Y


def _box(name: str) -> str:
    x, y = _corner(name)
    middle = x + _WIDTH / 2
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" fill="#eef4fa" '
        'stroke="#4292c6"/>'
        f'<text x="{middle:g}" y="{y + 18:g}" font-weight="bold">{name}</text>'
        f'<text x="{middle:g}" y="{y + 35:g}" font-size="11">{BOXES[name][2]}</text>'
    )


def _arrow(importer: str, imported: str) -> str:
    (x, y), (to_x, to_y) = _corner(importer), _corner(imported)
    x, to_x, y, bend = x + _WIDTH / 2, to_x + _WIDTH / 2, y + _HEIGHT, _STEP_Y / 2
    if y > to_y:  # the same row: from side to side
        return f'<path d="M{x:g} {y - 22:g} L{to_x:g} {to_y + 22:g}"/>'
    return f'<path d="M{x:g} {y:g} C{x:g} {y + bend:g} {to_x:g} {to_y - bend:g} {to_x:g} {to_y - 3:g}"/>'


def drawing() -> str:
    """The drawing as SVG."""
    width = 32 + 3.25 * _STEP_X + _WIDTH
    height = 32 + _TOP * _STEP_Y + _HEIGHT
    arrows = "\n".join(_arrow(*pair) for pair in sorted(without_implied(package_imports())))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height}" font-family="sans-serif" '
        'font-size="13" text-anchor="middle" fill="#333">\n'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="#777"/></marker></defs>\n'
        f'<rect width="{width:g}" height="{height}" fill="#fff"/>\n'
        f'<g fill="none" stroke="#777" marker-end="url(#tip)">\n{arrows}\n</g>\n'
        + "\n".join(map(_box, BOXES))
        + "\n</svg>\n"
    )


if __name__ == "__main__":
    DRAWING.write_text(drawing())
