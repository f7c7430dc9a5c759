"""One image and one video, as every listing names them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm")
#: How people write the two labels.
LABELS = {"0": 0, "1": 1, "real": 0, "fake": 1}
LABEL_WORDS = {0: "real", 1: "fake", None: "unlabelled"}


@dataclass(frozen=True)
class Sample:
    """One image: its file, label (0 real, 1 fake, None unknown), video, data set and manipulation.

    `path` may lie inside a tar shard, as in `shard.tar/KEY.png`. `video` is unique within a data set.
    `manipulation` names how a fake was made, as in "FF-DF"; empty where that is unknown, and for reals.
    """

    path: Path
    label: int | None
    video: str
    dataset: str
    manipulation: str = ""


@dataclass(frozen=True)
class Video:
    """One video file that is yet to be decoded; `name` is what its frames' samples carry as `video`.

    `split` is train, val or test; empty where a data set has no official split.
    """

    path: Path
    label: int | None
    name: str
    dataset: str
    manipulation: str = ""
    split: str = ""
