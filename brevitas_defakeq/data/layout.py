"""Recognises the layout of a source: index, frames, raw videos, class folders, CSV or shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from brevitas_defakeq.data.benchmark.catalog import CATALOG
from brevitas_defakeq.data.benchmark.dataset_folder import DatasetFolder
from brevitas_defakeq.data.benchmark.json_index import located
from brevitas_defakeq.data.folders import class_folders
from brevitas_defakeq.data.shards import shards_of
from brevitas_defakeq.utils.errors import UserError


class LayoutKind(StrEnum):
    """The layouts that are understood, by the names shown to users."""

    INDEX = "DeepfakeBench index"
    FRAMES = "frames folders"
    VIDEOS = "raw videos"
    CLASSES = "class folders"
    TABLE = "CSV"
    SHARDS = "WebDataset shards"
    PLAIN = "files without labels"


#: Layouts of the data sets known by name.
BENCHMARK_LAYOUTS = (LayoutKind.INDEX, LayoutKind.FRAMES, LayoutKind.VIDEOS)

#: Folders that may hold data sets, below the given one: itself, or those of DeepfakeBench's tree.
_BELOW = ("", "datasets/rgb", "rgb")
#: More folders than this are videos, not data sets; looking into each would take long.
_MOST_FOLDERS = 200


@dataclass(frozen=True)
class Layout:
    """A source's layout, and the folders of the data sets known by name that it holds."""

    kind: LayoutKind
    folders: tuple[DatasetFolder, ...] = ()


def recognise(path: Path, datasets: Sequence[str] = ()) -> Layout:
    """The layout of a path; `datasets` names the ones to use of several.

    A data set's folder means that data set, the folder above it all data sets in it. Raises UserError where
    the path does not exist, a named data set is missing, or a data set is empty.
    """
    if located(path)[0].is_file() and path.suffix.lower() == ".json":
        return Layout(LayoutKind.INDEX)
    if not path.exists():
        raise UserError(
            f"{path} does not exist; give a folder of images, a CSV with the columns path,label, a "
            "DeepfakeBench index, or tar shards"
        )
    if not path.is_dir():
        return Layout(_kind_of_file(path))
    folders = _chosen(path, datasets)
    if folders:
        return Layout(_contents(path, folders), folders)
    if datasets:
        known = ", ".join(folder.dataset.name for folder in _all_folders(path)) or "no data set known by name"
        raise UserError(f"{path} holds no {', '.join(datasets)}; it holds {known}")
    if class_folders(path):
        return Layout(LayoutKind.CLASSES)
    return Layout(LayoutKind.SHARDS if shards_of(path) else LayoutKind.PLAIN)


def _kind_of_file(path: Path) -> LayoutKind:
    kind = {".csv": LayoutKind.TABLE, ".tar": LayoutKind.SHARDS}.get(path.suffix.lower())
    if kind is None:
        raise UserError(
            f"{path} is neither a folder nor a .csv, .json or .tar file; give a folder of images or a CSV"
        )
    return kind


def _chosen(path: Path, datasets: Sequence[str]) -> tuple[DatasetFolder, ...]:
    """The named data sets; without names the folder's own, else all below it."""
    if datasets:
        found = {folder.dataset.name: folder for folder in reversed(list(_all_folders(path)))}
        return tuple(found[name] for name in datasets) if found.keys() >= set(datasets) else ()
    own = [folder for folder in _folders_at(path) if not folder.dataset.subset]
    if own:
        return (own[0],)
    if class_folders(path):
        return ()
    return tuple(folder for folder in _all_folders(path) if not folder.dataset.subset)


def _all_folders(path: Path) -> Iterator[DatasetFolder]:
    """Every data set at the path, and directly below it or below `_BELOW`."""
    yield from _folders_at(path)
    for base in filter(Path.is_dir, (path / folder for folder in _BELOW)):
        folders = sorted(entry for entry in base.iterdir() if entry.is_dir())
        for folder in folders if len(folders) <= _MOST_FOLDERS else ():
            yield from _folders_at(folder)


def _folders_at(folder: Path) -> Iterator[DatasetFolder]:
    return (DatasetFolder(dataset, folder) for dataset in CATALOG.values() if dataset.is_at(folder))


def _contents(path: Path, folders: tuple[DatasetFolder, ...]) -> LayoutKind:
    if any(folder.has_frames() for folder in folders):
        return LayoutKind.FRAMES
    if any(folder.has_videos() for folder in folders):
        return LayoutKind.VIDEOS
    first = folders[0]
    first.dataset.read_lists(first.path, [])  # raises if the labels' list is missing
    raise UserError(
        f"{path} looks like {first.dataset.name} and holds neither frames (in frames/VIDEO/) nor videos"
    )
