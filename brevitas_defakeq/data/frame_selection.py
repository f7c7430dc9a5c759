"""A video's frames: their order, and which of them are used."""

from __future__ import annotations

import re
from collections.abc import Sequence

#: Frames of a video that are searched for faces, as DeepfakeBench does.
DEFAULT_FRAMES = 32

_DIGITS = re.compile(r"(\d+)")


def frame_order(names: Sequence[str]) -> list[int]:
    """The positions of file names sorted by the numbers in their stems: 099.png, 155.png, 1024.png.

    >>> frame_order(["f10.png", "f9.png"])
    [1, 0]
    """
    try:
        numbers = [(int(name.rpartition(".")[0]), name) for name in names]
    except ValueError:
        texts = [_natural(name) for name in names]
        return sorted(range(len(names)), key=texts.__getitem__)
    return sorted(range(len(names)), key=numbers.__getitem__)


def positions(total: int, count: int | None, *, first: bool) -> list[int]:
    """Which of `total` frames to use: all, the first `count`, or `count` spread evenly from first to last.

    >>> positions(10, 4, first=False), positions(10, 4, first=True), positions(3, 32, first=False)
    ([0, 3, 6, 9], [0, 1, 2, 3], [0, 1, 2])
    """
    if count is None or count >= total or first:
        return list(range(total))[:count]
    if count == 1:
        return [(total - 1) // 2]
    return [index * (total - 1) // (count - 1) for index in range(count)]


def chosen(names: Sequence[str], count: int | None, *, first: bool) -> list[str]:
    """The names of the frames to use, in the video's order."""
    ordered = frame_order(names)
    return [names[ordered[index]] for index in positions(len(names), count, first=first)]


def _natural(name: str) -> tuple[list[str | int], str]:
    """A sort key that compares numbers as numbers: text and numbers of the stem alternate."""
    parts = _DIGITS.split(name.rpartition(".")[0] or name)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name
