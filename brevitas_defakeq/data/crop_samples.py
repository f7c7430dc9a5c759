"""Listed videos and pictures to the crops that a detector wants, kept in a cache.

>>> crop_samples(videos, Cutting(Crop("aligned", 0.15)), "crops/")  # doctest: +SKIP
[Sample(path=PosixPath('crops/aligned-0.15-256-.../000.png'), label=1, video='Deepfakes/000_003', ...), ...]
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from brevitas_defakeq.data.crop_cache import (
    cache_root,
    folder_of,
    read_index,
    remove_stale,
    write_index,
    written_once,
)
from brevitas_defakeq.data.face_crops import Cutter, Cutting, Finder, UnusableFile, is_picture
from brevitas_defakeq.data.sources import Sample
from brevitas_defakeq.data.video_crops import Listed, VideoCrops
from brevitas_defakeq.progress import ProgressCallback, silent
from brevitas_defakeq.runtime.yunet import FaceFinder
from brevitas_defakeq.utils.errors import UserError

Item, Result = TypeVar("Item"), TypeVar("Result")


def crop_samples(
    videos: Sequence[Listed], cutting: Cutting, cache: str | os.PathLike, **options: object
) -> list[Sample]:
    """The crops of all videos as samples, in the videos' order; the options are those of `cut_videos`.

    Raises UserError as `cut_videos` does, and where no face was found at all.
    """
    return samples_of(cut_videos(videos, cutting, cache, **options))


def samples_of(cut: Sequence[VideoCrops]) -> list[Sample]:
    """The crops as samples. Raises UserError where no face was found at all."""
    samples = [sample for video in cut for sample in video.samples]
    if cut and not samples:
        frames = sum(video.frames for video in cut)
        raise UserError(
            f"no face was found in any of {frames} frames of {len(cut)} videos or pictures, the first is "
            f"{cut[0].source.path}; pictures that are crops already need no finder"
        )
    return samples


def cut_videos(
    videos: Sequence[Listed],
    cutting: Cutting,
    cache: str | os.PathLike,
    *,
    finder: Finder | None = None,
    workers: int | None = None,
    on_corrupt: str = "refuse",
    on_progress: ProgressCallback = silent,
) -> list[VideoCrops]:
    """Cut every video and picture into crops, as far as the cache does not hold them.

    Args:
        videos: what to cut; files with the ending of a picture are pictures, all others videos.
        cutting: what is cut out of each.
        cache: folder of the crops, made if it is not there; several processes may share it.
        finder: finds the faces; None takes YuNet.
        workers: threads that find and cut, from 1, beside those that decode; None: as many as processors.
        on_corrupt: "refuse" raises once all others are done, "skip" returns such files with their problem.
        on_progress: called with ("crop", videos done, videos).

    Whole pictures are not copied: their crop is the file itself, which is not opened.

    Raises:
        UserError: files that cannot be used, a cache that cannot be written, YuNet's weights missing.
    """
    if on_corrupt not in ("refuse", "skip"):
        raise UserError(f"on_corrupt={on_corrupt!r} is not known; choose refuse or skip")
    if workers is not None and workers < 1:
        raise UserError(f"workers={workers}: give 1 or more, or none for one a processor")
    workers = workers or os.cpu_count() or 1
    finder = None if cutting.crop.kind == "whole" else finder or FaceFinder()
    root = cache_root(Path(cache), cutting, finder.version if finder else None)
    remove_stale(root)
    at_once = max(1, min(workers, len(videos)))
    finished: list[VideoCrops] = []
    with Cutter(cutting, finder, workers) as cutter, ThreadPoolExecutor(at_once) as pool:
        work = _Work(cutting, finder.version if finder else None, cutter, root, max(1, workers // at_once))
        for crops in _in_order(pool, work, videos, ahead=2 * at_once):
            finished.append(crops)
            on_progress("crop", len(finished), len(videos))
    _check(finished, on_corrupt)
    return finished


@dataclass(frozen=True)
class _Work:
    """One video to its crops, from the cache or cut now; called by several threads."""

    cutting: Cutting
    finder: str | None
    cutter: Cutter
    root: Path
    threads: int

    def __call__(self, video: Listed) -> VideoCrops:
        path = Path(video.path)
        if self.finder is None and is_picture(path):
            return VideoCrops(video, path.parent, (path.name,), 1, 0)
        try:
            folder = folder_of(self.root, path, video.name, video.dataset)
            index = read_index(folder) or self._cut(path, folder)
        except UnusableFile as error:
            return VideoCrops(video, path.parent, (), 0, 0, str(error))
        files = tuple(crop["file"] for crop in index["crops"])
        return VideoCrops(video, folder, files, index["frames"], index["without_face"])

    def _cut(self, path: Path, folder: Path) -> dict:
        with written_once(folder) as temporary:
            frames, crops = self.cutter.cut(path, temporary, self.threads)
            index = {
                "source": os.path.abspath(path), "cutting": self.cutting.to_dict(), "finder": self.finder,
                "frames": frames, "without_face": frames - len({crop["frame"] for crop in crops}),
                "crops": crops,
            }  # fmt: skip
            write_index(temporary, index)
        return index


def _in_order(
    pool: Executor, work: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """The results in the items' order, worked on at most ``ahead`` items ahead; the rest is not begun."""
    waiting: deque = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _check(finished: Sequence[VideoCrops], on_corrupt: str) -> None:
    """Refuse files that cannot be used, or a list of nothing else."""
    broken = [crops.problem for crops in finished if crops.problem]
    if broken and (on_corrupt == "refuse" or len(broken) == len(finished)):
        hint = "" if len(broken) == len(finished) else "; or leave such files out with on_corrupt=skip"
        share = f"{len(broken)} of {len(finished)} videos or pictures"
        raise UserError(f"{share} cannot be used; the first: {broken[0]}{hint}")
