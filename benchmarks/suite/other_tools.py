"""Other people's tools beside our files."""

from benchmarks.suite.rows import Row, auc_kept, flips, relative_error
from benchmarks.tables import markdown

_COLUMNS = (
    "file", "weights", "activations", "bytes", "of float", "AUC", "AUC kept", "flips", "95 %", "logit error"
)  # fmt: skip


def other_tools(peers: list[Row], ours: list[Row]) -> list[str]:
    """A section a detector: files of other tools and ours, by size; and what the tools refused.

    Args:
        peers: of ``benchmarks.peers``.
        ours: of the suite; those on the same test images, with 8-bit activations, are shown.
    """
    sections = []
    measured = [row for row in peers if "tool" in row]
    for vehicle in sorted({row["vehicle"] for row in measured}):
        rows = [row for row in measured if row["vehicle"] == vehicle]
        made = [row for row in rows if "refused" not in row]
        float_bytes = next(row["bytes"] for row in made if row["tool"] == "float")
        size = flips(made[0])["n"]
        lines = [(row["bytes"], _tool(row)) for row in made]
        lines += [(row["bytes"]["onnx"], _our(row)) for row in ours if _shown(row, vehicle, size)]
        lines.sort(key=lambda line: -line[0])
        cells = [[*names, *_cells(size, float_bytes, row)] for size, (*names, row) in lines]
        sections.append(f"## Other tools, {vehicle}, {size:,} test images\n\n{markdown(_COLUMNS, cells)}")
        refused = [f"- {row['tool']}, {row['method']}: {row['refused']}" for row in rows if "refused" in row]
        sections += ["Refused:\n\n" + "\n".join(refused) + "\n"] if refused else []
    return sections


def _shown(row: Row, vehicle: str, size: int) -> bool:
    task = row["task"]
    wanted = task["vehicle"], task["activation_bits"], task["seed"], task["samples"]
    if wanted != (vehicle, 8, 0, 256) or task["method"] not in ("best", "paper"):
        return False
    return bool(row["bytes"]["onnx"]) and flips(row)["n"] == size


def _tool(row: Row) -> tuple[str, str, str, Row]:
    name = f"{row['tool']}, {row['method']}" if row["tool"] != "float" else "float"
    return name, row["weights"], row["activations"], row


def _our(row: Row) -> tuple[str, str, str, Row]:
    task = row["task"]
    return f"**defakeq, {task['method']}**", f"{task['bits']:g}", f"{task['activation_bits']}", row


def _cells(size: int, float_bytes: int, row: Row) -> list[str]:
    low, high = (100 * end for end in flips(row)["interval"])
    return [
        f"{size:,}", f"{100 * size / float_bytes:.1f} %", f"{row['metrics']['auc']:.4f}",
        f"{100 * auc_kept(row):.2f} %", f"{100 * flips(row)['share']:.2f} %", f"{low:.2f} to {high:.2f} %",
        f"{relative_error(row):.4f}",
    ]  # fmt: skip
