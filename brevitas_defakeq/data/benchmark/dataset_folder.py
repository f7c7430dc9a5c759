"""A data set's folder: frames as DeepfakeBench's preprocessing leaves them, or videos as downloaded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from brevitas_defakeq.data.benchmark.catalog import Dataset
from brevitas_defakeq.data.benchmark.clips import Clip, Reading
from brevitas_defakeq.data.benchmark.split_lists import Lists
from brevitas_defakeq.data.folders import files_below
from brevitas_defakeq.data.missing_files import Missing
from brevitas_defakeq.data.selection import Selection
from brevitas_defakeq.imaging.sample import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from brevitas_defakeq.utils.errors import UserError


@dataclass(frozen=True)
class Place:
    """A data set and the folder it lies in."""

    dataset: Dataset
    folder: Path

    def has_frames(self) -> bool:
        """Whether some class folder, of any compression, has a folder `frames`."""
        return any((folder / "frames").is_dir() for folder in self._class_folders())

    def has_videos(self) -> bool:
        return any(True for folder in self._class_folders() for _ in video_files(folder))

    def _class_folders(self) -> Iterator[Path]:
        for compression in self.dataset.compressions(self.folder):
            for folder in self.dataset.folders(self.folder, compression):
                yield self.folder / folder


def read_place(place: Place, selection: Selection, *, frames: bool) -> Reading:
    """The wanted videos of a data set, by label and name: their frames, or their files.

    `missing` counts the videos that the official lists name and the folder lacks. Raises UserError for a list
    that is broken, or needed and not there, and for a compression that is not there.
    """
    dataset, root = place.dataset, place.folder
    compression = _compression(place, selection)
    folders = dataset.folders(root, compression)
    lists = dataset.read_lists(root, list(folders))
    if lists.lost and selection.split != "all":
        raise UserError(lists.lost)
    reading = Reading([], Missing("videos"), no_list=lists.lost)
    found = set()
    for folder, part in folders.items():
        for path in (frame_folders if frames else video_files)(root / folder):
            key = folder, path.name if frames else path.stem
            splits = lists.splits.get(key, lists.unlisted)
            kind = part.kind or _kind(dataset, lists, key)
            reading.unlisted += not splits
            if not kind or not selection.wants(splits):
                continue
            names = image_names(path) if frames else []
            if frames and not names:
                reading.empty.append(f"{folder}/{key[1]}")
                continue
            found.add(key)
            reading.clips.append(
                Clip(dataset.name, kind, dataset.kinds[kind], compression, key[1], splits, path, names)
            )
    reading.clips.sort(key=lambda clip: (clip.kind, clip.name))
    wanted = [key for key, splits in lists.splits.items() if selection.wants(splits)]
    reading.missing.add(len(wanted), ["/".join(key) for key in wanted if key not in found])
    return reading


def frame_folders(folder: Path) -> list[Path]:
    """The folders, one a video, in a class folder's `frames`, by name."""
    frames = folder / "frames"
    return sorted(entry for entry in frames.iterdir() if entry.is_dir()) if frames.is_dir() else []


def image_names(folder: Path) -> list[str]:
    """The images directly in a folder, in no order."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_file()]
    return [name for name in names if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")]


def video_files(folder: Path) -> list[Path]:
    """The videos of a class folder, by path: those below its `videos` where it has one."""
    own = folder / "videos"
    return sorted(files_below(own if own.is_dir() else folder, VIDEO_SUFFIXES))


def _compression(place: Place, selection: Selection) -> str:
    """The wanted compression; "" for a data set that has none."""
    if not place.dataset.compressed:
        return ""
    there = place.dataset.compressions(place.folder)
    if selection.compression not in there:
        raise UserError(
            f"{place.folder} has no {selection.compression} of {place.dataset.name}; it has "
            f"{', '.join(there) or 'none of raw, c23, c40'}, which compression= chooses"
        )
    return selection.compression


def _kind(dataset: Dataset, lists: Lists, key: tuple[str, str]) -> str:
    """The label's name where lists label each video; empty for a video they do not know."""
    label = lists.labels.get(key)
    return next((kind for kind, value in dataset.kinds.items() if value == label), "")
