"""What ``--data`` and ``--calibration`` name: crops as they are, or faces cut out of videos and pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from brevitas_defakeq.data.layout import VIDEOS, recognise
from brevitas_defakeq.data.selection import DEFAULT, Selection
from brevitas_defakeq.data.sources import list_videos, read_source
from brevitas_defakeq.imaging.crop import Crop
from brevitas_defakeq.imaging.sample import Sample, Video
from brevitas_defakeq.progress import ProgressCallback, silent
from brevitas_defakeq.utils.errors import UserError

FACES = ("crop", "largest", "all")
#: Frames of a raw video that are looked at, unless a selection says otherwise: what DeepfakeBench extracts.
FRAMES = 32


@dataclass(frozen=True)
class Faces:
    """Whether faces are cut out: ``kind`` "crop" takes pictures as crops, "largest" and "all" look for faces.

    Raw videos are always cut. ``cache`` is the folder that keeps the crops.
    """

    kind: str = "crop"
    cache: Path = Path("crops")

    def __post_init__(self) -> None:
        if self.kind not in FACES:
            raise UserError(f"faces={self.kind!r} is not known; choose {', '.join(FACES)}")


@dataclass(frozen=True)
class Opened:
    """Samples, and in how many of the frames that were looked at no face was found (None: none was cut)."""

    samples: Sequence[Sample]
    no_face: int | None = None


def open_source(
    path: str | os.PathLike,
    selection: Selection = DEFAULT,
    faces: Faces = Faces(),
    *,
    crop: Crop | None = None,
    side: int = 256,
    on_corrupt: str = "refuse",
    on_progress: ProgressCallback = silent,
) -> Opened:
    """The samples of a source, their faces cut out where the source or ``faces`` asks for it.

    Args:
        crop: how the detector's faces were cut out in training.
        side: of aligned crops, pixels.
        on_corrupt: "refuse" or "skip" videos and pictures that cannot be read.
        on_progress: called with ("crop", videos done, total).

    Raises:
        UserError: as ``read_source`` and ``cut_videos`` do, and where faces are to be cut out for a detector
            whose crop is not known.
    """
    raw = recognise(Path(path), selection.datasets).name == VIDEOS
    if faces.kind == "crop" and not raw:
        return Opened(read_source(path, selection))
    if crop is None:
        raise UserError(
            f"{path}: how this detector's faces are cut out is not known; give crops that were cut as its "
            "training images, or --crop aligned or box"
        )
    from brevitas_defakeq.data.crop_samples import cut_videos, samples_of
    from brevitas_defakeq.data.face_crops import Cutting

    cutting = Cutting(
        crop, selection.frames or FRAMES, "first" if selection.first else "even",
        "all" if faces.kind == "all" else "largest", side,
    )  # fmt: skip
    listed = list_videos(path, selection) if raw else [_as_video(s) for s in read_source(path, selection)]
    cut = cut_videos(listed, cutting, faces.cache, on_corrupt=on_corrupt, on_progress=on_progress)
    return Opened(samples_of(cut), sum(video.without_face for video in cut))


def _as_video(sample: Sample) -> Video:
    return Video(sample.path, sample.label, sample.video, sample.dataset, sample.manipulation)
