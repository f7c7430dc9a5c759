"""A video's frames: their order, and which of them are taken."""

from __future__ import annotations

import re
from collections.abc import Sequence

_DIGITS = re.compile(r"(\d+)")


def order(names: Sequence[str]) -> list[int]:
    """Places of file names by the numbers in their stems, as a video runs: 099.png, 155.png, 1024.png.

    >>> order(["f10.png", "f9.png"])
    [1, 0]
    """
    try:
        keys = [(int(name.rpartition(".")[0]), name) for name in names]
    except ValueError:
        keys = [_natural(name) for name in names]
    return sorted(range(len(names)), key=keys.__getitem__)


def positions(total: int, count: int | None, *, first: bool) -> list[int]:
    """Which of `total` frames to take: all, the first `count`, or `count` spread evenly from first to last.

    >>> positions(10, 4, first=False), positions(10, 4, first=True), positions(3, 32, first=False)
    ([0, 3, 6, 9], [0, 1, 2, 3], [0, 1, 2])
    """
    if count is None or count >= total or first:
        return list(range(total))[:count]
    if count == 1:
        return [(total - 1) // 2]
    return [place * (total - 1) // (count - 1) for place in range(count)]


def chosen(names: Sequence[str], count: int | None, *, first: bool) -> list[str]:
    """The names to take, in the video's order."""
    ordered = order(names)
    return [names[ordered[place]] for place in positions(len(names), count, first=first)]


def _natural(name: str) -> tuple[list[str | int], str]:
    """Numbers compared as numbers: the parts of the stem are text and digits in turn."""
    parts = _DIGITS.split(name.rpartition(".")[0] or name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name
