"""A data set's folder: frames as DeepfakeBench's preprocessing saves them, or videos as downloaded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from brevitas_defakeq.data.benchmark.catalog import Dataset
from brevitas_defakeq.data.benchmark.clips import Clip, DatasetContents
from brevitas_defakeq.data.benchmark.split_lists import SplitLists, VideoKey
from brevitas_defakeq.data.folders import files_below
from brevitas_defakeq.data.left_out import LeftOut
from brevitas_defakeq.data.missing_files import MissingFiles
from brevitas_defakeq.data.selection import Selection
from brevitas_defakeq.imaging.image_formats import image_suffixes
from brevitas_defakeq.imaging.sample import VIDEO_SUFFIXES
from brevitas_defakeq.utils.errors import UserError


@dataclass(frozen=True)
class DatasetFolder:
    """A data set and its folder."""

    dataset: Dataset
    path: Path

    def has_frames(self) -> bool:
        """Whether some class folder, of any compression, has a folder `frames`."""
        return any((folder / "frames").is_dir() for folder in self._class_folders())

    def has_videos(self) -> bool:
        """Whether some class folder, of any compression, holds video files."""
        return any(True for folder in self._class_folders() for _ in video_files(folder))

    def _class_folders(self) -> Iterator[Path]:
        for compression in self.dataset.compressions(self.path):
            for folder in self.dataset.folders(self.path, compression):
                yield self.path / folder


def read_dataset_folder(source: DatasetFolder, selection: Selection, *, frames: bool) -> DatasetContents:
    """The selected videos of a data set, sorted by label and name: their frames, or their files.

    `missing` counts the videos in the official lists that the folder lacks. Raises UserError for a list that
    is broken, or needed and missing, and for a missing compression.
    """
    dataset, root = source.dataset, source.path
    compression = _compression(source, selection)
    folders = dataset.folders(root, compression)
    lists = dataset.read_lists(root, list(folders))
    if lists.missing and selection.split != "all":
        raise UserError(lists.missing)
    contents = DatasetContents([], MissingFiles("videos"), no_list=lists.missing)
    found = set()
    for folder, class_folder in folders.items():
        inside = root / folder
        for path in frame_folders(inside) if frames else video_files(inside, contents.left_out):
            key = folder, path.name if frames else path.stem
            splits = lists.splits.get(key, lists.unlisted)
            label_name = class_folder.label_name or _label_name(dataset, lists, key)
            contents.unlisted += not splits
            if not label_name or not selection.wants(splits):
                continue
            names = image_names(path, contents.left_out) if frames else []
            if frames and not names:
                contents.empty.append(f"{folder}/{key[1]}")
                continue
            found.add(key)
            contents.clips.append(
                Clip(
                    dataset.name, label_name, dataset.labels[label_name], compression, key[1], splits, path,
                    names,
                )
            )  # fmt: skip
    contents.clips.sort(key=lambda clip: (clip.label_name, clip.name))
    wanted = [key for key, splits in lists.splits.items() if selection.wants(splits)]
    contents.missing.add(len(wanted), ["/".join(key) for key in wanted if key not in found])
    return contents


def frame_folders(folder: Path) -> list[Path]:
    """The folders, one for each video, in a class folder's `frames`, sorted by name."""
    frames = folder / "frames"
    return sorted(entry for entry in frames.iterdir() if entry.is_dir()) if frames.is_dir() else []


def image_names(folder: Path, left_out: LeftOut) -> list[str]:
    """The images directly in a folder, in no particular order; notes other files in `left_out`."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_file() and not entry.name.startswith(".")]
    images = [name for name in names if name.lower().endswith(image_suffixes())]
    for name in () if len(images) == len(names) else set(names).difference(images):
        left_out.add(name)
    return images


def video_files(folder: Path, left_out: LeftOut | None = None) -> list[Path]:
    """The videos of a class folder, sorted by path: those below its folder `videos` where it has one."""
    own = folder / "videos"
    return sorted(files_below(own if own.is_dir() else folder, VIDEO_SUFFIXES, left_out))


def _compression(source: DatasetFolder, selection: Selection) -> str:
    """The selected compression; "" for a data set that has none."""
    if not source.dataset.compressed:
        return ""
    present = source.dataset.compressions(source.path)
    if selection.compression not in present:
        raise UserError(
            f"{source.path} has no {selection.compression} of {source.dataset.name}; it has "
            f"{', '.join(present) or 'none of raw, c23, c40'}, which compression= chooses"
        )
    return selection.compression


def _label_name(dataset: Dataset, lists: SplitLists, key: VideoKey) -> str:
    """The label's name where lists label each video; empty for a video that is not listed."""
    label = lists.labels.get(key)
    return next((name for name, value in dataset.labels.items() if value == label), "")
