"""The report of a build: `report.json`, and the same as a table for the terminal and in Markdown."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from brevitas_defakeq.utils.files import write_bytes, write_json
from hw.boards import MARGIN, Board
from hw.finn_quirks import finn_versions
from hw.folding import excess

if TYPE_CHECKING:
    from qonnx.core.modelwrapper import ModelWrapper

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


def build_report(
    graph: "ModelWrapper", board: Board, *, target: str, wanted_fps: float | None, verified: dict
) -> dict:
    """The content of `report.json` for a folded graph; call within `quiet_finn`.

    Args:
        wanted_fps: frames per second asked for; None if folded as fast as possible.
        verified: step -> fields of `hw.verify_steps.StepAgreement`.
    """
    from hw.estimate import node_cost

    layers = [
        {"name": node.name, "kind": node.op_type.rpartition("_")[0],
         "variants": _implementations(node.op_type),
         **node_cost(node, board.part).to_dict()}
        for node in graph.graph.node
    ]  # fmt: skip
    for layer in layers:
        known = "cycles" not in layer["unestimated"]
        layer["frames_per_second"] = board.frames_per_second(layer["cycles"]) if known else None
    slowest = max(layers, key=lambda layer: layer["cycles"])
    totals = {name: sum(layer[name] for layer in layers) for name in (*_RESOURCES, "weight_bits")}
    bounds = sorted({name for layer in layers for name in layer["unestimated"]})
    return {
        "format_version": BUILD_REPORT_FORMAT_VERSION, "target": target, "board": board.name,
        "part": board.part,
        "clock_mhz": board.clock_mhz, "wanted_fps": wanted_fps,
        "frames_per_second": board.frames_per_second(slowest["cycles"]), "cycles": slowest["cycles"],
        "slowest_layer": slowest["name"], "layers": layers,
        "totals": totals,
        "available": {name: getattr(board, name) for name in _RESOURCES}, "margin": dict(MARGIN),
        "lower_bounds": bounds, "over": excess(totals, board),
        "nodes": {"total": len(layers), "mapped": len(layers)}, "verified": verified,
        "versions": finn_versions(),
    }  # fmt: skip


def _implementations(op_type: str) -> str:
    """The implementations FINN has of a layer: "rtl", "hls" or both; "rtl (versal)" is for Versal only."""
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
    """Write `report.json` and `report.md`."""
    write_json(folder / "report.json", report)
    write_bytes(folder / "report.md", report_markdown(report).encode())


def report_table(report: dict) -> Table:
    """The report as a table for the terminal."""
    result = Table(title=heading(report), caption=" ".join(remarks(report)), show_footer=True)
    for name, total in zip(_COLUMNS, _totals(report), strict=True):
        result.add_column(
            name, footer=total, justify="left" if name in ("layer", "folding", "variant") else "right"
        )
    for layer in report["layers"]:
        result.add_row(*_row(layer))
    return result


def report_markdown(report: dict) -> str:
    """The report as Markdown: heading, table, remarks."""
    rows = [_COLUMNS, ["---"] * len(_COLUMNS), *map(_row, report["layers"]), _totals(report)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([f"# {heading(report)}", "", *lines, "", *remarks(report), ""])


def heading(report: dict) -> str:
    """One line: rate, board, clock and slowest layer."""
    most = "at most " if "cycles" in report["lower_bounds"] else ""
    return (
        f"{most}{report['frames_per_second']:,.0f} frames per second on {report['board']} at "
        f"{report['clock_mhz']:g} MHz ({report['cycles']:,} cycles per frame, "
        f"slowest layer {report['slowest_layer']})"
    )


def remarks(report: dict) -> list[str]:
    """What the estimates include, and whether the build fits and is verified."""
    lines = ["Estimates by FINN, without FIFOs and width converters."]
    if report["over"]:
        lines.append(f"Exceeds the board's margins: {report['over']}.")
    if report["lower_bounds"]:
        names = ", ".join(report["lower_bounds"])
        if "cycles" in report["lower_bounds"]:
            slow = [layer["name"] for layer in report["layers"] if layer["frames_per_second"] is None]
            lines.append(f"FINN does not estimate the cycles of {', '.join(slow)}: the rate may be lower.")
        lines.append(f"≥: FINN has no {names} estimate of these layers; totals of {names} are lower bounds.")
    unequal = {step: found for step, found in report["verified"].items() if found["equal"] < found["frames"]}
    frames = next(iter(report["verified"].values()))["frames"]
    if unequal:
        worst = max(found["largest"] for found in unequal.values())
        lines.append(
            f"Steps {', '.join(unequal)} do not equal the profile on all of {frames} frames (floating-point "
            f"layers): they differ by up to {100 * worst:.2g} % of the largest output."
        )
    else:
        lines.append(f"Every step equals the profile on {frames} of {frames} frames.")
    return lines


def _row(layer: dict) -> list[str]:
    def estimate(name: str) -> str:
        return ("≥ " if name in layer["unestimated"] else "") + f"{layer[name]:,}"

    folding = " ".join(f"{name}={value}" for name, value in layer["folding"].items())
    rate = "?" if layer["frames_per_second"] is None else f"{layer['frames_per_second']:,.0f}"
    exclusive = layer["variants"] in ("hls", "rtl (versal)")
    return [
        layer["name"], estimate("cycles"), rate, *map(estimate, _RESOURCES),
        f"{layer['weight_bits']:,}", folding,
        layer["style"] + (f", only {layer['variants']}" if exclusive else ""),
    ]  # fmt: skip


def _totals(report: dict) -> list[str]:
    totals, bounds = report["totals"], report["lower_bounds"]
    shares = [
        ("≥ " if name in bounds else "") + f"{totals[name]:,} of {report['available'][name]:,}"
        for name in _RESOURCES
    ]
    rate = f"{report['frames_per_second']:,.0f}"
    return ["total", f"{report['cycles']:,}", rate, *shares, f"{totals['weight_bits']:,}", "", ""]
