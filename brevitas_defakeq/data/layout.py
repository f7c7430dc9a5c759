"""What lies at a path: an index, frames of a benchmark, a raw download, class folders, a CSV, shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from brevitas_defakeq.data.benchmark.catalog import CATALOG
from brevitas_defakeq.data.benchmark.dataset_folder import Place
from brevitas_defakeq.data.benchmark.json_index import located
from brevitas_defakeq.data.folders import class_folders
from brevitas_defakeq.data.shards import shards_of
from brevitas_defakeq.utils.errors import UserError

INDEX = "DeepfakeBench index"
FRAMES = "frames folders"
VIDEOS = "raw videos"
CLASSES = "class folders"
TABLE = "CSV"
SHARDS = "WebDataset shards"
PLAIN = "files without labels"

#: Where the data sets may lie below what is given: there, or in DeepfakeBench's own tree.
_BELOW = ("", "datasets/rgb", "rgb")
#: More folders side by side are videos, not data sets; to look into each would take long.
_MOST = 200


@dataclass(frozen=True)
class Layout:
    """A layout's name, and the data sets known by name that were found there."""

    name: str
    places: tuple[Place, ...] = ()


def recognise(path: Path, datasets: Sequence[str] = ()) -> Layout:
    """The layout of a path; `datasets` names those wanted of several.

    A data set's folder stands for the data set, the folder above it for all that lie there. Raises UserError
    where nothing is, where a named data set is not, and where a data set is empty.
    """
    if located(path)[0].is_file() and path.suffix.lower() == ".json":
        return Layout(INDEX)
    if not path.exists():
        raise UserError(
            f"{path} does not exist; give a folder of images, a CSV with the columns path,label, a "
            "DeepfakeBench index, or tar shards"
        )
    if not path.is_dir():
        return Layout(_kind_of_file(path))
    places = _places(path, datasets)
    if places:
        return Layout(_contents(path, places), places)
    if datasets:
        known = ", ".join(place.dataset.name for place in _all_places(path)) or "no data set known by name"
        raise UserError(f"{path} holds no {', '.join(datasets)}; it holds {known}")
    if class_folders(path):
        return Layout(CLASSES)
    return Layout(SHARDS if shards_of(path) else PLAIN)


def _kind_of_file(path: Path) -> str:
    kind = {".csv": TABLE, ".tar": SHARDS}.get(path.suffix.lower())
    if kind is None:
        raise UserError(
            f"{path} is neither a folder nor a .csv, .json or .tar file; give a folder of images or a CSV"
        )
    return kind


def _places(path: Path, datasets: Sequence[str]) -> tuple[Place, ...]:
    """The wanted data sets: the named ones; else the folder's own; else all below."""
    if datasets:
        found = {place.dataset.name: place for place in reversed(list(_all_places(path)))}
        return tuple(found[name] for name in datasets) if found.keys() >= set(datasets) else ()
    own = [place for place in _places_at(path) if not place.dataset.subset]
    if own:
        return (own[0],)
    if class_folders(path):
        return ()
    return tuple(place for place in _all_places(path) if not place.dataset.subset)


def _all_places(path: Path) -> Iterator[Place]:
    """Every data set at the path, and directly below it or its tree."""
    yield from _places_at(path)
    for base in filter(Path.is_dir, (path / folder for folder in _BELOW)):
        folders = sorted(entry for entry in base.iterdir() if entry.is_dir())
        for folder in folders if len(folders) <= _MOST else ():
            yield from _places_at(folder)


def _places_at(folder: Path) -> Iterator[Place]:
    return (Place(dataset, folder) for dataset in CATALOG.values() if dataset.is_at(folder))


def _contents(path: Path, places: tuple[Place, ...]) -> str:
    if any(place.has_frames() for place in places):
        return FRAMES
    if any(place.has_videos() for place in places):
        return VIDEOS
    place = places[0]
    place.dataset.read_lists(place.folder, [])  # says what is wrong where only lists tell real from fake
    raise UserError(
        f"{path} looks like {place.dataset.name} and holds neither frames (in frames/VIDEO/) nor videos"
    )
