"""What samples say beside their images, column by column: numbers instead of names, a few bytes a frame."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np

from brevitas_defakeq.data.sources import Sample


@dataclass(frozen=True)
class Names:
    """One name a frame: ``codes`` [N] are places in ``names``."""

    codes: np.ndarray
    names: tuple[str, ...]

    def __getitem__(self, chosen: np.ndarray) -> Names:
        return Names(self.codes[chosen], self.names)


@dataclass(frozen=True)
class Columns:
    """N frames: ``labels`` int8 (0 real, 1 fake) and, as numbers, what each belongs to.

    ``videos`` [N]: videos of one name are one only within a data set and a label. ``folders`` [N]: the
    folder's bare name, which DeepfakeBench takes for the video. ``manipulations``: "" where nobody says.
    """

    labels: np.ndarray
    videos: np.ndarray
    folders: np.ndarray
    datasets: Names
    manipulations: Names

    @classmethod
    def of(cls, samples: Iterable[Sample]) -> Columns:
        """The columns of labelled samples."""
        return cls.collect(
            (sample.label, sample.dataset, sample.manipulation, sample.video, folder_of(sample))
            for sample in samples
        )

    @classmethod
    def collect(cls, rows: Iterable[tuple[int, str, str, str, str]]) -> Columns:
        """From rows of label, data set, manipulation, video and folder, read once; a name is kept once."""
        labels, numbers = array("b"), [array("i") for _ in range(4)]
        known: list[dict] = [{} for _ in numbers]
        for label, dataset, manipulation, video, folder in rows:
            labels.append(-1 if label is None else label)  # refused where figures are made
            keys = (video, dataset, label), folder, dataset, manipulation
            for column, seen, key in zip(numbers, known, keys, strict=True):
                column.append(seen.setdefault(key, len(seen)))
        videos, folders, datasets, manipulations = (np.asarray(column, dtype=np.int32) for column in numbers)
        return cls(
            np.asarray(labels, dtype=np.int8), videos, folders,
            Names(datasets, tuple(known[2])), Names(manipulations, tuple(known[3])),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: np.ndarray) -> Columns:
        """The frames that a mask or places choose."""
        return Columns(*(getattr(self, field.name)[chosen] for field in fields(self)))


def folder_of(sample: Sample) -> str:
    """The bare name of the folder that the frame lies in."""
    return sample.path.parent.name
