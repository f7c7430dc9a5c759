"""The samples of a source: its images as they are, or faces cropped from its videos and images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from brevitas_defakeq.config import DEFAULT_CROPS_CACHE
from brevitas_defakeq.data.frame_selection import DEFAULT_FRAMES
from brevitas_defakeq.data.layout import LayoutKind, recognise
from brevitas_defakeq.data.selection import TEST_SPLIT, Selection
from brevitas_defakeq.data.sources import list_videos, read_source
from brevitas_defakeq.imaging.crop import Crop
from brevitas_defakeq.imaging.sample import Sample, Video
from brevitas_defakeq.progress import ProgressCallback, silent
from brevitas_defakeq.utils.errors import UserError

FACE_MODES = ("crop", "largest", "all")


@dataclass(frozen=True)
class FaceOptions:
    """Whether faces are cropped. Raises UserError for an unknown mode.

    Attributes:
        mode: "crop" uses images as they are; "largest" and "all" find the faces in each image and crop them.
            Faces in raw videos are always found and cropped.
        cache: the folder that keeps the crops.
    """

    mode: str = "crop"
    cache: Path = DEFAULT_CROPS_CACHE

    def __post_init__(self) -> None:
        if self.mode not in FACE_MODES:
            raise UserError(f"faces={self.mode!r} is not known; choose {', '.join(FACE_MODES)}")


@dataclass(frozen=True)
class SourceSamples:
    """Samples, and the number of searched frames without a face (None: no faces were cropped)."""

    samples: Sequence[Sample]
    no_face: int | None = None


def open_source(
    path: str | os.PathLike,
    selection: Selection = TEST_SPLIT,
    faces: FaceOptions = FaceOptions(),
    *,
    crop: Crop | None = None,
    on_corrupt: str = "refuse",
    on_progress: ProgressCallback = silent,
) -> SourceSamples:
    """The samples of a source, faces cropped where the source or ``faces`` asks for it.

    Args:
        path: the source, as `read_source` and `list_videos` take it.
        selection: which part of it to read.
        faces: whether faces are cropped.
        crop: how the detector's training faces were cropped; None if unknown.
        on_corrupt: "refuse" or "skip" videos and images that cannot be read.
        on_progress: called with ("crop", videos done, total).

    Raises:
        UserError: as `read_source` and `crop_videos`, and where faces are to be cropped and ``crop`` is None.
    """
    raw = recognise(Path(path), selection.datasets).kind == LayoutKind.VIDEOS
    if faces.mode == "crop" and not raw:
        return SourceSamples(read_source(path, selection))
    if crop is None:
        raise UserError(
            f"{path}: how this detector's faces are cropped is not known; give images cropped like its "
            "training images, or --crop aligned or box"
        )
    from brevitas_defakeq.data.crop_samples import crop_videos, samples_of
    from brevitas_defakeq.data.face_crops import CropSettings

    settings = CropSettings(
        crop, selection.frames or DEFAULT_FRAMES, "first" if selection.first else "even",
        "all" if faces.mode == "all" else "largest",
    )  # fmt: skip
    listed = list_videos(path, selection) if raw else [_as_video(s) for s in read_source(path, selection)]
    cut = crop_videos(listed, settings, faces.cache, on_corrupt=on_corrupt, on_progress=on_progress)
    return SourceSamples(samples_of(cut), sum(video.without_face for video in cut))


def _as_video(sample: Sample) -> Video:
    return Video(sample.path, sample.label, sample.video, sample.dataset, sample.manipulation)
