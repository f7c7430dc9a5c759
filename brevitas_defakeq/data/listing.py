"""Many samples in little memory: columns of numbers that index one table of strings."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np

from brevitas_defakeq.data.frame_selection import frame_order, positions
from brevitas_defakeq.imaging.sample import Sample

_TEXTS = ("folder", "name", "video", "dataset", "manipulation")
_UNKNOWN = -1  #: the label None
_CHUNK = 4096  #: samples made at a time by an iteration


class Listing(Sequence[Sample]):
    """A sequence of samples that takes 21 bytes each; their strings are stored once.

    It equals a list of the same samples. Adding or multiplying gives a list; a slice, or `take`, a listing.

    Attributes:
        strings: the table of strings.
        labels: int8 [N], 0 real, 1 fake, -1 unknown.
    """

    def __init__(self, strings: Sequence[str], columns: dict[str, np.ndarray], labels: np.ndarray) -> None:
        self.strings, self._columns, self.labels = strings, columns, labels

    @classmethod
    def of(cls, samples: Iterable[Sample]) -> Listing:
        """Any samples as a listing."""
        if isinstance(samples, Listing):
            return samples
        rows = ListingBuilder()
        for sample in samples:
            path = Path(sample.path)
            rows.add(
                str(path.parent), [path.name], label=sample.label, video=sample.video,
                dataset=sample.dataset, manipulation=sample.manipulation,
            )  # fmt: skip
        return rows.listing()

    def codes(self, column: str) -> np.ndarray:
        """Indices into `strings` of the folder, name, video, dataset or manipulation, int32 [N]."""
        return self._columns[column]

    def ranks(self) -> np.ndarray:
        """The rank of each string in sorted order, int32 [len(strings)]."""
        ranks = np.empty(len(self.strings), dtype=np.int32)
        ranks[sorted(range(len(self.strings)), key=self.strings.__getitem__)] = np.arange(len(self.strings))
        return ranks

    def videos(self) -> np.ndarray:
        """A number for each sample's video, int64 [N]; names are unique within a data set and a label."""
        wide = self.codes("dataset").astype(np.int64) * 3 + self.labels + 1
        return np.unique(wide * len(self.strings) + self.codes("video"), return_inverse=True)[1].reshape(-1)

    def paths(self) -> Iterator[str]:
        """The files' paths, in order."""
        for folder, name in zip(self.codes("folder"), self.codes("name"), strict=True):
            yield os.path.join(self.strings[folder], self.strings[name])

    def take(self, rows: np.ndarray | slice) -> Listing:
        """The samples in these rows (indices or a mask [N]), in the rows' order."""
        columns = {name: column[rows] for name, column in self._columns.items()}
        return Listing(self.strings, columns, self.labels[rows])

    def by_path(self) -> Listing:
        """Sorted by path, in the same order on every machine."""
        names = [Path(path).as_posix() for path in self.paths()]
        return self.take(np.array(sorted(range(len(self)), key=names.__getitem__), dtype=np.int64))

    def thinned(self, frames: int | None, *, first: bool) -> Listing:
        """At most `frames` images of each video, the first or evenly spaced ones, in the same order."""
        if frames is None:
            return self
        videos, kept = self.videos(), np.ones(len(self), dtype=bool)
        rows = np.argsort(videos, kind="stable")
        starts = np.searchsorted(videos[rows], np.arange(videos.max(initial=-1) + 2))
        for video in np.flatnonzero(np.diff(starts) > frames):
            own = rows[starts[video] : starts[video + 1]]
            ordered = own[frame_order([self.strings[code] for code in self.codes("name")[own]])]
            kept[ordered] = False
            kept[ordered[positions(len(own), frames, first=first)]] = True
        return self.take(kept)

    def __len__(self) -> int:
        return len(self.labels)

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> Listing: ...

    def __getitem__(self, index: int | slice) -> Sample | Listing:
        if isinstance(index, slice):
            return self.take(index)
        return self._sample(self.labels[index], *(self._columns[name][index] for name in _TEXTS))

    def __iter__(self) -> Iterator[Sample]:
        columns = (self.labels, *(self._columns[name] for name in _TEXTS))
        for start in range(0, len(self), _CHUNK):
            yield from map(self._sample, *(column[start : start + _CHUNK].tolist() for column in columns))

    def _sample(self, label: int, folder: int, name: int, video: int, dataset: int, kind: int) -> Sample:
        text = self.strings
        known = None if label == _UNKNOWN else int(label)
        return Sample(Path(text[folder], text[name]), known, text[video], text[dataset], text[kind])

    def __add__(self, other: Sequence[Sample]) -> list[Sample]:
        return [*self, *other]

    def __mul__(self, times: int) -> list[Sample]:
        return [*self] * times

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(map(Sample.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Listing of {len(self)} samples>"


class ListingBuilder:
    """Builds a listing row by row."""

    def __init__(self) -> None:
        self._table: dict[str, int] = {}
        self._columns = {name: array("i") for name in _TEXTS}
        self._labels = array("b")

    def __len__(self) -> int:
        return len(self._labels)

    def add(
        self, folder: str, names: Sequence[str], *, label: int | None, video: str, dataset: str,
        manipulation: str = "",
    ) -> None:  # fmt: skip
        """Add images of one video that are in one folder."""
        same = {"folder": folder, "video": video, "dataset": dataset, "manipulation": manipulation}
        for column, text in same.items():
            self._columns[column].extend([self._code(text)] * len(names))
        self._columns["name"].extend(map(self._code, names))
        self._labels.extend([_UNKNOWN if label is None else label] * len(names))

    def listing(self) -> Listing:
        """The samples added so far."""
        columns = {name: np.asarray(column, dtype=np.int32) for name, column in self._columns.items()}
        return Listing(tuple(self._table), columns, np.asarray(self._labels, dtype=np.int8))

    def _code(self, text: str) -> int:
        return self._table.setdefault(text, len(self._table))
