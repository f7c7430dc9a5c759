"""Crops the faces of videos and images for a detector, and keeps the crops in a cache.

>>> samples_of(crop_videos(videos, CropSettings(Crop("aligned", 0.15)), "crops/"))  # doctest: +SKIP
[Sample(path=PosixPath('crops/aligned-0.15-256-.../000.png'), label=1, video='Deepfakes/000_003', ...), ...]
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from brevitas_defakeq.data.crop_cache import (
    cache_root,
    crop_folder,
    read_crop_index,
    remove_stale,
    write_crop_index,
    written_once,
)
from brevitas_defakeq.data.face_crops import CropSettings, FaceCropper, Finder, UnusableFile, is_image_file
from brevitas_defakeq.data.ordered_results import ordered_results
from brevitas_defakeq.data.video_crops import VideoCrops
from brevitas_defakeq.imaging.sample import Sample, Video
from brevitas_defakeq.progress import ProgressCallback, silent
from brevitas_defakeq.runtime.yunet import FaceFinder
from brevitas_defakeq.utils.errors import UserError


def samples_of(crops: Sequence[VideoCrops]) -> list[Sample]:
    """The crops as samples. Raises UserError where no face was found at all."""
    samples = [sample for video in crops for sample in video.samples]
    if crops and not samples:
        frames = sum(video.frames for video in crops)
        raise UserError(
            f"no face was found in any of {frames} frames of {len(crops)} videos or images, the first is "
            f"{crops[0].source.path}; images that are crops already need no finder"
        )
    return samples


def crop_videos(
    videos: Sequence[Video],
    settings: CropSettings,
    cache: str | os.PathLike,
    *,
    finder: Finder | None = None,
    workers: int | None = None,
    on_corrupt: str = "refuse",
    on_progress: ProgressCallback = silent,
) -> list[VideoCrops]:
    """The crops of every video and image, from the cache or made now.

    Whole images are not copied: their crop is the file itself, which is not opened.

    Args:
        videos: the files to crop; those with an image's suffix are images, all others videos.
        settings: which frames are searched, and how faces are cropped.
        cache: the folder of the crops, created if missing; several processes may share it.
        finder: finds the faces; None uses YuNet.
        workers: threads that find and crop faces, from 1, besides those that decode; None: one per processor.
        on_corrupt: "refuse" raises after all other files are done, "skip" returns them with their problem.
        on_progress: called with ("crop", videos done, videos).

    Raises:
        UserError: files that cannot be used, a cache that cannot be written, YuNet's weights missing.
    """
    if on_corrupt not in ("refuse", "skip"):
        raise UserError(f"on_corrupt={on_corrupt!r} is not known; choose refuse or skip")
    if workers is not None and workers < 1:
        raise UserError(f"workers={workers}: give 1 or more, or none for one a processor")
    workers = workers or os.cpu_count() or 1
    finder = None if settings.crop.kind == "whole" else finder or FaceFinder()
    root = cache_root(Path(cache), settings, finder.version if finder else None)
    remove_stale(root)
    at_once = max(1, min(workers, len(videos)))
    finished: list[VideoCrops] = []
    with FaceCropper(settings, finder, workers) as cropper, ThreadPoolExecutor(at_once) as pool:
        version = finder.version if finder else None
        job = _VideoJob(settings, version, cropper, root, max(1, workers // at_once))
        for crops in ordered_results(pool, job, videos, ahead=2 * at_once):
            finished.append(crops)
            on_progress("crop", len(finished), len(videos))
    _check(finished, on_corrupt)
    return finished


@dataclass(frozen=True)
class _VideoJob:
    """Gives one video's crops, from the cache or made now; called by several threads."""

    settings: CropSettings
    finder: str | None
    cropper: FaceCropper
    root: Path
    threads: int

    def __call__(self, video: Video) -> VideoCrops:
        path = Path(video.path)
        if self.finder is None and is_image_file(path):
            return VideoCrops(video, path.parent, (path.name,), 1, 0)
        try:
            folder = crop_folder(self.root, path, video.name, video.dataset)
            index = read_crop_index(folder) or self._crop(path, folder)
        except UnusableFile as error:
            return VideoCrops(video, path.parent, (), 0, 0, str(error))
        files = tuple(crop["file"] for crop in index["crops"])
        return VideoCrops(video, folder, files, index["frames"], index["without_face"])

    def _crop(self, path: Path, folder: Path) -> dict:
        with written_once(folder) as temporary:
            frames, crops = self.cropper.crop_file(path, temporary, self.threads)
            index = {
                "source": os.path.abspath(path), "cutting": self.settings.to_dict(), "finder": self.finder,
                "frames": frames, "without_face": frames - len({crop["frame"] for crop in crops}),
                "crops": crops,
            }  # fmt: skip
            write_crop_index(temporary, index)
        return index


def _check(finished: Sequence[VideoCrops], on_corrupt: str) -> None:
    """Raise UserError for unusable files, with "skip" only if no other file is left."""
    broken = [crops.problem for crops in finished if crops.problem]
    if broken and (on_corrupt == "refuse" or len(broken) == len(finished)):
        hint = "" if len(broken) == len(finished) else "; or leave such files out with on_corrupt=skip"
        share = f"{len(broken)} of {len(finished)} videos or images"
        raise UserError(f"{share} cannot be used; the first: {broken[0]}{hint}")
