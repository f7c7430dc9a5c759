"""One image and one video of a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

#: Suffixes of videos, in lower case; PyAV reads them all.
VIDEO_SUFFIXES = (
    ".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".m2v", ".vob", ".ts", ".mts",
    ".m2ts", ".wmv", ".asf", ".flv", ".f4v", ".3gp", ".3g2", ".ogv", ".mxf", ".y4m", ".mjpeg",
)  # fmt: skip
#: How people write the two labels.
LABELS = {"0": 0, "1": 1, "real": 0, "fake": 1}
LABEL_WORDS = {0: "real", 1: "fake", None: "unlabelled"}


@dataclass(frozen=True)
class Sample:
    """One image.

    Attributes:
        path: its file, which may be inside a tar shard, as in `shard.tar/KEY.png`.
        label: 0 real, 1 fake, None unknown.
        video: the video it comes from, unique within a data set.
        dataset: the data set's name.
        manipulation: how a fake was made, as in "FF-DF"; empty for real images and where it is unknown.
    """

    path: Path
    label: int | None
    video: str
    dataset: str
    manipulation: str = ""


@dataclass(frozen=True)
class Video:
    """One video file that is not decoded yet; also an image file whose faces are to be cropped.

    Attributes:
        path: its file.
        label: 0 real, 1 fake, None unknown.
        name: the `Sample.video` of its frames.
        dataset: the data set's name.
        manipulation: as in `Sample`.
        split: train, val or test; empty where a data set has no official split.
    """

    path: Path
    label: int | None
    name: str
    dataset: str
    manipulation: str = ""
    split: str = ""
