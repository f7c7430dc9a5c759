"""Which part of a data set is wanted: split, compression, frames of a video, and where the files lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from brevitas_defakeq.utils.errors import UserError

SPLITS = ("train", "val", "test")
COMPRESSIONS = ("raw", "c23", "c40")


@dataclass(frozen=True)
class Selection:
    """What to take of a source. Raises UserError for a value that is not allowed.

    Folders and shards of one's own know no split and no compression, a CSV may have a column `split`: else
    of them only `frames` and `first` choose.
    """

    split: str = "test"  #: train, val, test, or all: calibration takes train, figures are reported on test
    compression: str = "c23"  #: raw, c23 or c40, of FaceForensics++ and what comes with it; papers report c23
    datasets: tuple[str, ...] = ()  #: names of data sets; none given takes what the path stands for
    frames: int | None = None  #: images of a video at most; None takes all
    first: bool = False  #: take a video's first frames, as DeepfakeBench does, not evenly spaced ones
    root: Path | None = None  #: folder that holds the files an index names
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
        """Whether a video that stands in these splits is wanted."""
        return self.split == "all" or self.split in splits


#: The test split of what the path stands for, every frame.
DEFAULT = Selection()
