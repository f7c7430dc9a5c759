"""What the benchmarks' tables are made of: the JSON files of a folder, and Markdown."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path


def reports(folder: Path) -> dict[str, dict]:
    """Every JSON file by its name without the ending, in order."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with a line for each row."""
    lines = [f"| {' | '.join(cells)} |" for cells in (columns, *rows)]
    return "\n".join([lines[0], "|---" * len(columns) + "|", *lines[1:]]) + "\n"
