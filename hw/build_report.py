"""What a build found out: `report.json`, and the same as a table for the terminal and in Markdown."""

from importlib.metadata import version
from pathlib import Path

from rich.table import Table

from brevitas_defakeq.utils.files import write_bytes, write_json
from hw.boards import MARGIN, Board
from hw.folding import excess

BUILD_REPORT_FORMAT_VERSION = 1
_RESOURCES = ("lut", "bram18", "dsp", "uram")
_COLUMNS = (
    "layer",
    "cycles",
    "frames/s",
    "LUT",
    "BRAM18",
    "DSP",
    "URAM",
    "weight bits",
    "folding",
    "variant",
)


def build_report(graph, board: Board, *, target: str, wanted_fps: float | None, verified: dict) -> dict:
    """The content of `report.json` for a folded graph; within `quiet_finn`."""
    from hw.estimate import node_cost

    layers = [
        {"name": node.name, "kind": node.op_type.rpartition("_")[0], "variants": _variants(node.op_type),
         **node_cost(node, board.part).to_dict()}
        for node in graph.graph.node
    ]  # fmt: skip
    for layer in layers:
        layer["frames_per_second"] = board.frames_per_second(layer["cycles"])
    slowest = max(layers, key=lambda layer: layer["cycles"])
    totals = {name: sum(layer[name] for layer in layers) for name in (*_RESOURCES, "weight_bits")}
    bounds = sorted({name for layer in layers for name in layer["unestimated"]})
    return {
        "format_version": BUILD_REPORT_FORMAT_VERSION, "target": target, "board": board.name, "part": board.part,
        "clock_mhz": board.clock_mhz, "wanted_fps": wanted_fps,
        "frames_per_second": board.frames_per_second(slowest["cycles"]), "cycles": slowest["cycles"],
        "slowest_layer": slowest["name"], "layers": layers,
        "totals": totals,
        "available": {name: getattr(board, name) for name in _RESOURCES}, "margin": dict(MARGIN),
        "lower_bounds": bounds, "over": excess(totals, board),
        "nodes": {"total": len(layers), "mapped": len(layers)}, "verified": verified,
        "versions": {name: version(name) for name in ("finn-plus", "qonnx")},
    }  # fmt: skip


def _variants(op_type: str) -> str:
    """Which variants FINN has of a layer: "rtl", "hls", "rtl, hls"; "rtl (versal)" is for Versal."""
    from finn.custom_op.fpgadataflow.hls import custom_op as hls
    from finn.custom_op.fpgadataflow.rtl import custom_op as rtl

    from hw.finn_quirks import VERSAL_ONLY, VERSAL_RTL

    kind = op_type.rpartition("_")[0]
    names = []
    if f"{kind}_rtl" in rtl:
        names.append("rtl (versal)" if kind in (*VERSAL_RTL, *VERSAL_ONLY) else "rtl")
    if f"{kind}_hls" in hls:
        names.append("hls")
    return ", ".join(names)


def write_report(report: dict, folder: Path) -> None:
    """`report.json` and `report.md`."""
    write_json(folder / "report.json", report)
    write_bytes(folder / "report.md", report_markdown(report).encode())


def report_table(report: dict) -> Table:
    """For the terminal."""
    made = Table(title=heading(report), caption=" ".join(remarks(report)), show_footer=True)
    for name, total in zip(_COLUMNS, _totals(report), strict=True):
        made.add_column(
            name, footer=total, justify="left" if name in ("layer", "folding", "variant") else "right"
        )
    for layer in report["layers"]:
        made.add_row(*_row(layer))
    return made


def report_markdown(report: dict) -> str:
    """The table with its heading and remarks."""
    rows = [_COLUMNS, ["---"] * len(_COLUMNS), *map(_row, report["layers"]), _totals(report)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([f"# {heading(report)}", "", *lines, "", *remarks(report), ""])


def heading(report: dict) -> str:
    return (
        f"{report['frames_per_second']:,.0f} frames a second on {report['board']} at "
        f"{report['clock_mhz']:g} MHz ({report['cycles']:,} cycles a frame, {report['slowest_layer']})"
    )


def remarks(report: dict) -> list[str]:
    """What a reader has to know of the figures."""
    said = ["Estimates by FINN's functions, without FIFOs and width converters."]
    if report["over"]:
        said.append(f"More than the board's margins allow: {report['over']}.")
    if report["lower_bounds"]:
        names = ", ".join(report["lower_bounds"])
        said.append(f"≥: FINN estimates no {names} for these layers; the totals of {names} are lower bounds.")
    off = {step: found for step, found in report["verified"].items() if found["equal"] < found["frames"]}
    frames = next(iter(report["verified"].values()))["frames"]
    if off:
        worst = max(found["largest"] for found in off.values())
        said.append(
            f"Steps {', '.join(off)} are not equal to the profile on all of {frames} frames (floating-point "
            f"layers): off by up to {100 * worst:.2g} % of the largest output."
        )
    else:
        said.append(f"Every step equals the profile on {frames} of {frames} frames.")
    return said


def _row(layer: dict) -> list[str]:
    def figure(name: str) -> str:
        return ("≥ " if name in layer["unestimated"] else "") + f"{layer[name]:,}"

    folding = " ".join(f"{name}={value}" for name, value in layer["folding"].items())
    only = layer["variants"] in ("hls", "rtl (versal)")
    return [
        layer["name"], figure("cycles"), f"{layer['frames_per_second']:,.0f}", *map(figure, _RESOURCES),
        f"{layer['weight_bits']:,}", folding,
        layer["style"] + (f", only {layer['variants']}" if only else ""),
    ]  # fmt: skip


def _totals(report: dict) -> list[str]:
    totals, bounds = report["totals"], report["lower_bounds"]
    shares = [
        ("≥ " if name in bounds else "") + f"{totals[name]:,} of {report['available'][name]:,}"
        for name in _RESOURCES
    ]
    rate = f"{report['frames_per_second']:,.0f}"
    return ["total", f"{report['cycles']:,}", rate, *shares, f"{totals['weight_bits']:,}", "", ""]
