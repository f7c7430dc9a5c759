"""Tables of all methods: who leads, and one of each detector, budget and width of activations."""

from collections.abc import Mapping

from benchmarks.presets import OURS, PEERS
from benchmarks.suite.rows import (
    Row,
    Setting,
    auc_kept,
    by_method,
    flips,
    mean,
    relative_error,
    share_of_flips,
)
from benchmarks.suite.tasks import WHOLE
from benchmarks.tables import markdown

_COLUMNS = (
    "method", "bytes", "of float", "AUC", "AUC kept", "AUC of the parts", "flips", "95 %", "largest change",
    "logit error", "s", "seeds",
)  # fmt: skip


def method_tables(settings: Mapping[Setting, list[Row]]) -> list[str]:
    """A section for each setting."""
    sections = []
    for setting, rows in sorted(settings.items(), reverse=True):
        size = flips(rows[0])["n"]
        title = (
            f"{setting.vehicle}, {setting.bits:g} bits, {setting.activation_bits}-bit activations, "
            f"{size:,} test images"
        )
        methods = sorted(by_method(rows).items(), key=lambda entry: mean(entry[1], share_of_flips))
        sections.append(f"## {title}\n\n{markdown(_COLUMNS, [_cells(*each) for each in methods])}")
    return sections


def _cells(method: str, rows: list[Row]) -> list[str]:
    low, high = (mean(rows, lambda row, end=end: flips(row)["interval"][end]) for end in (0, 1))
    return [
        method, f"{mean(rows, lambda row: row['bytes']['weights']):,.0f}",
        f"{100 * mean(rows, lambda row: row['bytes']['weights'] / row['bytes']['float']):.1f} %",
        f"{mean(rows, lambda row: row['metrics']['auc']):.4f}",
        f"{100 * mean(rows, auc_kept):.2f} %",
        ", ".join(f"{mean(rows, lambda row, part=part: row['metrics']['parts'][part]['auc']):.3f}"
                  for part in rows[0]["metrics"]["parts"]),
        f"{100 * mean(rows, share_of_flips):.2f}{_over_seeds(rows)} %",
        f"{100 * low:.2f} to {100 * high:.2f} %",
        f"{mean(rows, lambda row: row['metrics']['fidelity']['largest_probability_change']):.2f}",
        f"{mean(rows, relative_error):.4f}",
        f"{mean(rows, lambda row: row['seconds']['whole']):.0f}", str(len(rows)),
    ]  # fmt: skip


def _over_seeds(rows: list[Row]) -> str:
    """Half the range of the flips over the seeds."""
    shares = [100 * share_of_flips(row) for row in rows]
    return f" ± {(max(shares) - min(shares)) / 2:.2f}" if len(rows) > 1 else ""


def leaders(settings: Mapping[Setting, list[Row]]) -> str:
    """Budget by budget, who flips least and who keeps most AUC over the detectors measured whole.

    Of our methods ``best`` and ``paper`` take part; other compression has float activations and does not.
    """
    budgets = sorted({(key.activation_bits, key.bits) for key in settings}, reverse=True)
    lines = []
    for activation_bits, bits in budgets:
        tables = [
            by_method(
                row for row in settings.get(Setting(vehicle, activation_bits, bits), []) if _seed_0(row)
            )
            for vehicle in WHOLE
        ]
        shared = [name for name in (*PEERS, *OURS) if all(name in table for table in tables)]
        taking_part = [name for name in shared if name in (*PEERS, "best", "paper")]
        if "best" not in taking_part or len(taking_part) < 3:
            continue
        shares = {name: _over_vehicles(tables, name, share_of_flips) for name in taking_part}
        kept = {name: _over_vehicles(tables, name, auc_kept) for name in taking_part}
        others = [name for name in taking_part if name in PEERS]
        least, most = min(shares, key=shares.__getitem__), max(kept, key=kept.__getitem__)
        peer = min(others, key=shares.__getitem__)
        lines.append([
            f"{bits:g}", str(activation_bits), f"{100 * shares['best']:.2f} %", f"{100 * kept['best']:.2f} %",
            f"{least}, {100 * shares[least]:.2f} %", f"{most}, {100 * kept[most]:.2f} %",
            f"{peer}, {100 * shares[peer]:.2f} %", str(len(taking_part)),
        ])  # fmt: skip
    columns = (
        "bits", "activations", "`best`: flips", "AUC kept", "fewest flips", "most AUC kept",
        "best other method", "methods",
    )  # fmt: skip
    return markdown(columns, lines)


def _seed_0(row: Row) -> bool:
    return row["task"]["seed"] == 0


def _over_vehicles(tables: list[dict[str, list[Row]]], method: str, read) -> float:
    return sum(mean(table[method], read) for table in tables) / len(tables)
