"""The frames of a data set as columns of numbers instead of samples: a few bytes a frame."""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, fields

import numpy as np

from brevitas_defakeq.data.sources import Sample


@dataclass(frozen=True)
class NameColumn:
    """One name a frame: ``codes`` [N] are indices into ``names``."""

    codes: np.ndarray
    names: tuple[str, ...]

    def __getitem__(self, chosen: np.ndarray) -> NameColumn:
        return NameColumn(self.codes[chosen], self.names)


@dataclass(frozen=True)
class FrameTable:
    """N frames: ``labels`` int8 (0 real, 1 fake) and, as numbers, what each belongs to.

    ``videos`` [N]: a video's name counts only within its data set and label. ``folders`` [N]: the folder's
    bare name, which DeepfakeBench takes for the video. ``manipulations``: "" where unknown.
    """

    labels: np.ndarray
    videos: np.ndarray
    folders: np.ndarray
    datasets: NameColumn
    manipulations: NameColumn

    @classmethod
    def from_samples(cls, samples: Iterable[Sample]) -> FrameTable:
        return cls.from_rows(
            (sample.label, sample.dataset, sample.manipulation, sample.video, sample.path.parent.name)
            for sample in samples
        )

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[int | None, str, str, str, str]]) -> FrameTable:
        """From rows of label, data set, manipulation, video and folder, read once; a name is kept once."""
        labels, numbers = array("b"), [array("i") for _ in range(4)]
        known: list[dict[Hashable, int]] = [{} for _ in numbers]
        for label, dataset, manipulation, video, folder in rows:
            labels.append(-1 if label is None else label)  # -1 is refused where metrics are computed
            keys = (video, dataset, label), folder, dataset, manipulation
            for column, codes, key in zip(numbers, known, keys, strict=True):
                column.append(codes.setdefault(key, len(codes)))
        videos, folders, datasets, manipulations = (np.asarray(column, dtype=np.int32) for column in numbers)
        return cls(
            np.asarray(labels, dtype=np.int8), videos, folders,
            _names(datasets, known[2]), _names(manipulations, known[3]),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: np.ndarray) -> FrameTable:
        """The frames that a mask [N] or indices choose."""
        return FrameTable(*(getattr(self, field.name)[chosen] for field in fields(self)))


def _names(codes: np.ndarray, known: Iterable[Hashable]) -> NameColumn:
    return NameColumn(codes, tuple(str(name) for name in known))
