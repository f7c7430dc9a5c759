"""Which part of a source to read: split, compression, frames of a video, and the files' root."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from brevitas_defakeq.utils.errors import UserError

SPLITS = ("train", "val", "test")
COMPRESSIONS = ("raw", "c23", "c40")


@dataclass(frozen=True)
class Selection:
    """Which part of a source to read. Raises UserError for a value that is not allowed.

    Plain folders and shards have no split and no compression, a CSV may have a column `split`; apart from
    that only `frames` and `first` apply to them.
    """

    split: str = "test"  #: train, val, test, or all: calibration uses train, metrics are reported on test
    compression: str = "c23"  #: raw, c23 or c40, of FaceForensics++ and its parts; papers report c23
    datasets: Sequence[str] = ()  #: names of data sets; empty reads those at the path
    frames: int | None = None  #: at most so many images of a video; None reads all
    first: bool = False  #: a video's first frames, as DeepfakeBench does, instead of evenly spaced ones
    root: Path | None = None  #: folder of the files that an index lists
    missing: float = 0.1  #: share of missing files, 0..1, above which a source is refused

    def __post_init__(self) -> None:
        names = (self.datasets,) if isinstance(self.datasets, str) else tuple(self.datasets)
        object.__setattr__(self, "datasets", names)
        object.__setattr__(self, "root", None if self.root is None else Path(self.root))
        if self.split not in (*SPLITS, "all"):
            raise UserError(f"split={self.split!r} is not known; choose train, val, test or all")
        if self.compression not in COMPRESSIONS:
            raise UserError(
                f"compression={self.compression!r} is not known; choose {', '.join(COMPRESSIONS)}"
            )
        if self.frames is not None and self.frames < 1:
            raise UserError(f"frames={self.frames}: give the images of a video to take, 1 or more")
        if not 0 <= self.missing <= 1:
            raise UserError(f"missing={self.missing}: give the share of files that may be missing, 0 to 1")
        if self.root is not None and not self.root.is_dir():
            raise UserError(f"root={self.root} is no folder; give the one that holds the data sets")

    def wants(self, splits: tuple[str, ...]) -> bool:
        """Whether a video in these splits is selected."""
        return self.split == "all" or self.split in splits


#: The test split of the data sets at the path, every frame.
TEST_SPLIT = Selection()
