"""Plain folders: `real/` and `fake/`, or `0_real/` and `1_fake/`, or files without labels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from brevitas_defakeq.data.left_out import LeftOut
from brevitas_defakeq.data.listing import Listing, ListingBuilder
from brevitas_defakeq.imaging.image_formats import image_suffixes
from brevitas_defakeq.imaging.sample import VIDEO_SUFFIXES, Video

CLASS_FOLDERS = {"real": 0, "fake": 1, "0_real": 0, "1_fake": 1}


def class_folders(root: Path) -> dict[Path, int]:
    """The folders directly below `root` named after a label (in any case), with that label."""
    labels = {entry: CLASS_FOLDERS.get(entry.name.lower()) for entry in root.iterdir() if entry.is_dir()}
    return {folder: label for folder, label in sorted(labels.items()) if label is not None}


def read_folder(root: Path, left_out: LeftOut) -> Listing:
    """The labelled images of the class folders, or, without class folders, all images without labels.

    A sub-folder is a video, named by its path from `root`; each image directly in `root` or in a class folder
    is a video of its own. Notes in `left_out` what it does not read.
    """
    rows = ListingBuilder()
    dataset = root.resolve().name
    for folder, label in _searched(root, left_out).items():
        for file in files_below(folder, image_suffixes(), left_out):
            own = file.with_suffix("") if file.parent == folder else file.parent
            video = own.relative_to(root).as_posix()
            rows.add(str(file.parent), [file.name], label=label, video=video, dataset=dataset)
    return rows.listing().by_path()


def folder_videos(root: Path, left_out: LeftOut) -> list[Video]:
    """The labelled videos of the class folders, or, without class folders, all videos without labels.

    Notes in `left_out` what it does not read.
    """
    dataset = root.resolve().name
    return [
        Video(file, label, file.relative_to(root).with_suffix("").as_posix(), dataset)
        for folder, label in _searched(root, left_out).items()
        for file in sorted(files_below(folder, VIDEO_SUFFIXES, left_out))
    ]


def files_below(folder: Path, suffixes: tuple[str, ...], left_out: LeftOut | None = None) -> Iterator[Path]:
    """The files with these suffixes below a folder; follows links (each folder once), skips hidden names."""
    visited: set[str] = set()
    for current, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(current)
        folders[:] = [] if real in visited else [name for name in folders if not name.startswith(".")]
        if real in visited:
            continue
        visited.add(real)
        for name in files:
            if name.startswith("."):
                continue
            if name.lower().endswith(suffixes):
                yield Path(current, name)
            elif left_out is not None:
                left_out.add(name)


def _searched(root: Path, left_out: LeftOut) -> Mapping[Path, int | None]:
    """The class folders, or the folder itself; notes what lies beside class folders."""
    folders = class_folders(root)
    if not folders:
        return {root: None}
    for entry in sorted(root.iterdir()):
        if entry.name.startswith(".") or entry in folders:
            continue
        if entry.is_dir():
            left_out.folders.append(entry.name)
        else:
            left_out.add(entry.name)
    return folders
