"""Tables of settings: parts of our recipe, calibration images, saliency."""

from collections.abc import Iterable, Mapping

from benchmarks.presets import ALLOCATIONS, MAIN, PARTS, VEFT
from benchmarks.suite.rows import (
    Row,
    Setting,
    auc_kept,
    by_method,
    mean,
    relative_error,
    share_of_flips,
)
from benchmarks.suite.tasks import PARTS_BITS, SAMPLES_BITS
from benchmarks.tables import markdown

_GROUPS = {
    "The paper's recipe, and ours": MAIN, "Where the widths come from": {"best": None, **ALLOCATIONS},
    "Parts of our recipe": {"best": None, **PARTS}, "VEFT": {"best, no last pass": None, **VEFT},
}  # fmt: skip


def parts_tables(settings: Mapping[Setting, list[Row]]) -> list[str]:
    """A section a group of our methods: flips, error, AUC kept and seconds of each detector."""
    measured = {
        key.vehicle: by_method(rows) for key, rows in sorted(settings.items())
        if (key.activation_bits, key.bits) == (8, PARTS_BITS)
    }  # fmt: skip
    sections = []
    for title, group in _GROUPS.items():
        lines = [
            [vehicle, method, *_cells(methods[method])]
            for vehicle, methods in measured.items() for method in group if method in methods
        ]  # fmt: skip
        if lines:
            columns = ("detector", "method", *_COLUMNS)
            sections.append(f"## {title}, {PARTS_BITS:g} bits\n\n{markdown(columns, lines)}")
    return sections


_COLUMNS = ("flips", "logit error", "AUC kept", "bytes", "s", "of it for widths", "passes", "seeds")


def _cells(rows: list[Row]) -> list[str]:
    return [
        f"{100 * mean(rows, share_of_flips):.2f} %", f"{mean(rows, relative_error):.4f}",
        f"{100 * mean(rows, auc_kept):.2f} %", f"{mean(rows, lambda row: row['bytes']['weights']):,.0f}",
        f"{mean(rows, lambda row: row['seconds']['whole']):.0f}",
        f"{mean(rows, lambda row: row['seconds']['allocate']):.1f}",
        f"{mean(rows, lambda row: row['forward_passes']):.0f}", str(len(rows)),
    ]  # fmt: skip


def samples_table(rows: Iterable[Row]) -> list[str]:
    """``best`` by the number of calibration images."""
    wanted = [
        row for row in rows
        if (row["task"]["method"], row["task"]["bits"], row["task"]["activation_bits"], row["task"]["seed"])
        == ("best", SAMPLES_BITS, 8, 0)
    ]  # fmt: skip
    lines = [
        [row["task"]["vehicle"], str(row["task"]["samples"]), *_cells([row])]
        for row in sorted(wanted, key=lambda row: (row["task"]["vehicle"], row["task"]["samples"]))
    ]
    if len({row["task"]["samples"] for row in wanted}) < 2:
        return []
    columns = ("detector", "images", *_COLUMNS)
    return [f"## Calibration images, {SAMPLES_BITS:g} bits\n\n{markdown(columns, lines)}"]


def saliency_table(settings: Mapping[Setting, list[Row]]) -> list[str]:
    """How well the maps of the quantized and the float detector agree, at 3 bits."""
    lines = []
    for setting, rows in sorted(settings.items()):
        if (setting.activation_bits, setting.bits) != (8, 3.0):
            continue
        found = [row for row in rows if "mean" in row.get("saliency", {}) and row["task"]["seed"] == 0]
        for row in sorted(found, key=lambda row: -row["saliency"]["mean"]):
            maps = row["saliency"]
            lines.append([
                setting.vehicle, maps["method"], row["task"]["method"], f"{maps['mean']:.4f}",
                f"{maps['lowest']:.3f}",
            ])  # fmt: skip
    columns = ("detector", "maps", "method", "agreement", "lowest")
    return [f"## Saliency, 3 bits\n\n{_SALIENCY}\n{markdown(columns, lines)}"] if lines else []


_SALIENCY = """\
Pearson's correlation of the float and the quantized detector's [maps](saliency.md), mean and lowest over 64
test images; 1 for equal maps.
"""
