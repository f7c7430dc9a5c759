"""The suite's page and charts, from the JSON files alone."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tables import markdown, reports

Row = dict[str, Any]
_COLUMNS = (
    "method", "bytes", "of float", "AUC", "AUC kept", "AUC of the parts", "flips", "95 %", "largest change",
    "logit error", "s", "seeds",
)  # fmt: skip


def write_page(results: Path, peers: Path, page: Path, charts: Path) -> None:
    """Markdown to ``page``, a Pareto chart a vehicle to ``charts``.

    Args:
        results, peers: folders of the suite's rows and of other tools' (``benchmarks.peers``).
    """
    groups = _groups(list(reports(results).values()))
    parts = ["# How it compares\n", _HEAD]
    for (vehicle, activation_bits, bits, _), rows in sorted(groups.items(), reverse=True):
        size = _flips(rows[0])["n"]
        title = f"{vehicle}, {bits:g} bits, {activation_bits}-bit activations, {size:,} test images"
        parts.append(f"## {title}\n\n{_table(rows)}")
    parts += _other_tools(list(reports(peers).values()), groups)
    page.write_text("\n".join(parts))
    for vehicle in {key[0] for key in groups}:
        _pareto([row for key, rows in groups.items() if key[0] == vehicle for row in rows],
                charts / f"pareto-{vehicle}.svg", vehicle)  # fmt: skip


_HEAD = """\
Written by `python -m benchmarks --table` from the JSON files in `benchmarks/results/suite`. Every method
starts from the same detector and calibration images and takes the same number of steps; the detectors know
drawn faces.
Bytes are those of the packed weights, of other tools those of the file. Pruning, SVD and signs have float
activations. Flips are verdicts that differ from the float detector's at its own
threshold. The parts are, for drawn faces, the forgery families used in training and those kept out; for
photographs the fair pairs ffhq/tpdne and cip.
"""


def _groups(rows: list[Row]) -> dict[tuple[str, int, float, int], list[Row]]:
    groups = defaultdict(list)
    for row in rows:
        task = row["task"]
        if task["samples"] == 256:
            groups[task["vehicle"], task["activation_bits"], task["bits"], task["test"]["in_domain"]].append(
                row
            )
    return dict(groups)


def _table(rows: list[Row]) -> str:
    methods = defaultdict(list)
    for row in rows:
        methods[row["task"]["method"]].append(row)
    order = sorted(methods.items(), key=lambda entry: np.mean([_flips(row)["share"] for row in entry[1]]))
    return markdown(_COLUMNS, [_cells(method, found) for method, found in order])


def _cells(method: str, rows: list[Row]) -> list[str]:
    def mean(read: Any) -> float:
        return float(np.mean([read(row) for row in rows]))

    low, high = (mean(lambda row, end=end: _flips(row)["interval"][end]) for end in (0, 1))
    return [
        method, f"{mean(lambda row: row['bytes']['weights']):,.0f}",
        f"{100 * mean(lambda row: row['bytes']['weights'] / row['bytes']['float']):.1f} %",
        f"{mean(lambda row: row['metrics']['auc']):.4f}",
        f"{100 * mean(lambda row: row['metrics']['auc_kept']):.2f} %",
        ", ".join(f"{mean(lambda row, part=part: row['metrics']['parts'][part]['auc']):.3f}"
                  for part in rows[0]["metrics"]["parts"]),
        f"{100 * mean(lambda row: _flips(row)['share']):.2f} %", f"{100 * low:.2f} to {100 * high:.2f} %",
        f"{mean(lambda row: row['metrics']['fidelity']['largest_probability_change']):.2f}",
        f"{mean(lambda row: row['metrics']['relative_error']):.4f}",
        f"{mean(lambda row: row['seconds']['whole']):.0f}", str(len(rows)),
    ]  # fmt: skip


def _flips(row: Row) -> dict[str, Any]:
    return row["metrics"]["fidelity"]["flips"]


_TOOL_COLUMNS = (
    "file", "weights", "activations", "bytes", "of float", "AUC", "AUC kept", "flips", "95 %", "logit error"
)  # fmt: skip


def _other_tools(peers: list[Row], groups: Any) -> list[str]:
    """A table a vehicle: files of other tools and ours, by size; and what the tools refused."""
    parts = []
    measured = [row for row in peers if "tool" in row]
    for vehicle in sorted({row["vehicle"] for row in measured}):
        rows = [row for row in measured if row["vehicle"] == vehicle]
        float_bytes = next(row["bytes"] for row in rows if row["tool"] == "float")
        lines = [_tool_cells(row, float_bytes) for row in rows if "refused" not in row]
        size = next(row["metrics"]["fidelity"]["flips"]["n"] for row in rows if "refused" not in row)
        lines += [
            _our_cells(row, float_bytes)
            for (name, *_), ours in groups.items() for row in ours
            if name == vehicle and row["bytes"].get("onnx") and row["task"]["method"] in ("best", "paper")
            and _flips(row)["n"] == size
        ]  # fmt: skip
        lines.sort(key=lambda cells: -int(cells[3].replace(",", "")))
        parts.append(f"## Other tools, {vehicle}, {size:,} test images\n\n{markdown(_TOOL_COLUMNS, lines)}")
        refused = [f"- {row['tool']}, {row['method']}: {row['refused']}" for row in rows if "refused" in row]
        parts += ["Refused:\n\n" + "\n".join(refused) + "\n"] if refused else []
    return parts


def _tool_cells(row: Row, float_bytes: int) -> list[str]:
    name = f"{row['tool']}, {row['method']}" if row["tool"] != "float" else "float"
    return [name, row["weights"], row["activations"], *_file_cells(row["bytes"], float_bytes, row)]


def _our_cells(row: Row, float_bytes: int) -> list[str]:
    task = row["task"]
    cells = _file_cells(row["bytes"]["onnx"], float_bytes, row)
    return [f"**defakeq, {task['method']}**", f"{task['bits']:g}", f"{task['activation_bits']}", *cells]


def _file_cells(size: int, float_bytes: int, row: Row) -> list[str]:
    found, flips = row["metrics"], _flips(row)
    low, high = (100 * end for end in flips["interval"])
    return [
        f"{size:,}", f"{100 * size / float_bytes:.1f} %", f"{found['auc']:.4f}",
        f"{100 * found['auc_kept']:.2f} %", f"{100 * flips['share']:.2f} %", f"{low:.2f} to {high:.2f} %",
        f"{found['relative_error']:.4f}",
    ]  # fmt: skip


def _pareto(rows: list[Row], chart: Path, vehicle: str) -> None:
    """Flips against bytes, a line a method; the lower left is better."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "defakeq"  # the same chart from the same JSON
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.5), sharex=True)
    methods = defaultdict(list)
    for row in rows:
        if row["task"]["activation_bits"] == 8 and row["task"]["seed"] == 0:
            methods[row["task"]["method"]].append(row)
    for method, found in sorted(methods.items()):
        found = sorted(found, key=lambda row: row["bytes"]["weights"])
        kilobytes = [row["bytes"]["weights"] / 1e3 for row in found]
        style = {"linewidth": 2.5, "zorder": 3} if method == "best" else {"alpha": 0.7}
        for axis, values in zip(
            axes,
            (
                [100 * _flips(row)["share"] for row in found],
                [100 * row["metrics"]["auc_kept"] for row in found],
            ),
            strict=True,
        ):
            axis.plot(kilobytes, values, marker="o", markersize=3, label=method, **style)
    axes[0].set(title=f"{vehicle}: flipped verdicts", xlabel="kB of weights", ylabel="%", yscale="log")
    axes[1].set(title="AUC kept", xlabel="kB of weights", ylabel="% of the float AUC")
    axes[1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.tight_layout()
    chart.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(chart, metadata={"Date": None})
    pyplot.close(figure)
