"""Finds the folders that an index names, which was written on another machine, often under Windows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

#: DeepfakeBench's own tree; its indexes start with it or leave it out.
_RGB = ("datasets", "rgb")
#: An index is in `preprocessing/dataset_json`, the frames are in `datasets/rgb` beside `preprocessing`.
_LEVELS_UP = 3


class Rebase:
    """Finds a folder below `root`, then as given; without `root` as given, then near the index.

    Below `root`, or the index's folder, these are tried: the path as given, the path in `datasets/rgb`, and
    the path from the data set's own folder on.

    Args:
        index: the index file.
        root: the folder that holds the data sets, or one data set.
        datasets: names of data sets' folders.
    """

    def __init__(self, index: Path, root: Path | None, datasets: Iterable[str]) -> None:
        self._rooted = root is not None
        near = [Path(), *index.resolve().parents[:_LEVELS_UP]]
        #: (folder to search, its own name)
        self._bases = [(base, base.resolve().name) for base in ([root] if root else near)]
        self._datasets = frozenset(datasets)

    def __call__(self, folder: str) -> str | None:
        """The folder's path on this machine (of `folder` with forward slashes); None if it does not exist."""
        return next(filter(os.path.isdir, self._candidates(folder)), None)

    def _candidates(self, folder: str) -> Iterator[str]:
        if not self._rooted:
            yield folder
        parts = tuple(part for part in folder.split("/") if part not in ("", "."))
        given = (parts,) if not os.path.isabs(folder) else ()
        for base, name in self._bases:
            for tail in (*given, *self._tails(parts)):
                yield os.path.join(base, *tail)
                yield os.path.join(base, *_RGB, *tail)
                if tail[:1] == (name,):
                    yield os.path.join(base, *tail[1:])
        if self._rooted:
            yield folder

    def _tails(self, parts: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        """The parts after `datasets/rgb`, and those from a data set's folder on."""
        for start, part in enumerate(parts):
            if part in self._datasets or parts[max(0, start - 2) : start] == _RGB:
                yield parts[start:]
