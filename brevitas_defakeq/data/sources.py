"""Where images come from: benchmarks as indexes and frames, folders, CSV files and tar shards."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from brevitas_defakeq.data import layout as layouts
from brevitas_defakeq.data.benchmark.clips import Clip, Reading, listing_of, videos_of
from brevitas_defakeq.data.benchmark.dataset_folder import read_place
from brevitas_defakeq.data.benchmark.json_index import read_index
from brevitas_defakeq.data.csv_file import read_csv
from brevitas_defakeq.data.folders import folder_videos, read_folder
from brevitas_defakeq.data.layout import Layout, recognise
from brevitas_defakeq.data.listing import Listing
from brevitas_defakeq.data.selection import DEFAULT, Selection
from brevitas_defakeq.data.shards import read_shards, shards_of
from brevitas_defakeq.imaging.sample import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Sample, Video
from brevitas_defakeq.imaging.stored_files import open_file
from brevitas_defakeq.utils.errors import UserError

_LOG = logging.getLogger(__name__)


def read_source(path: str | os.PathLike, selection: Selection = DEFAULT) -> Listing:
    """All images of a source, in an order that is the same on every machine.

    `path` is one of
    - a DeepfakeBench index (.json), a data set's frames folders, or the folder above several of them;
    - a folder with `real/` and `fake/` (or `0_real/` and `1_fake/`), searched to any depth;
    - a CSV with the columns `path,label[,video][,dataset][,manipulation][,split]`;
    - WebDataset shards: a .tar, or a folder of them;
    - a plain folder of images (labels None).
    Raises UserError if the source is missing, empty, damaged, or not understood.
    """
    path = Path(path)
    found = recognise(path, selection.datasets)
    if found.name == layouts.VIDEOS:
        names = ", ".join(place.dataset.name for place in found.places)
        raise UserError(f"{path} holds the videos of {names} and no frames; cut face crops out of them first")
    if found.name in (layouts.INDEX, layouts.FRAMES):
        listing = listing_of(_clips(path, found, selection, frames=True), selection)
    else:
        listing = _of_datasets(path, _images(path, found, selection.split), selection.datasets)
        listing = listing.thinned(selection.frames, first=selection.first)
    if not len(listing):
        raise UserError(
            f"{path} holds no images{_where(found, selection)}; looked for {', '.join(IMAGE_SUFFIXES)}"
        )
    return listing


def list_videos(path: str | os.PathLike, selection: Selection = DEFAULT) -> list[Video]:
    """All video files of a source, in an order that is the same on every machine.

    `path` is a data set as downloaded (or the folder above several), a folder with `real/` and `fake/`, a
    CSV, or a plain folder of videos (labels None). Raises UserError as `read_source` does.
    """
    path = Path(path)
    found = recognise(path, selection.datasets)
    if found.name in (layouts.FRAMES, layouts.VIDEOS):
        videos = videos_of(_clips(path, found, selection, frames=False), selection)
    elif found.name == layouts.TABLE:
        listed = [s for s in read_csv(path, selection.split) if s.path.suffix.lower() in VIDEO_SUFFIXES]
        videos = [Video(s.path, s.label, s.video, s.dataset, s.manipulation) for s in listed]
    elif found.name in (layouts.CLASSES, layouts.PLAIN):
        videos = folder_videos(path)
    else:
        raise UserError(f"{path}: a {found.name} lists images, not videos; give the videos' folder")
    if not videos:
        raise UserError(
            f"{path} holds no videos{_where(found, selection)}; looked for {', '.join(VIDEO_SUFFIXES)}"
        )
    return videos


def data_hash(samples: Iterable[Sample]) -> str:
    """SHA-256 (hex) over the images: name below their common folder, label and bytes of each, in name order.

    The same images give the same hash wherever they lie and in whatever order they are given.
    """
    samples = list(samples)
    paths = [os.path.abspath(sample.path) for sample in samples]
    folder = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
    rows = [
        (Path(path).relative_to(folder).as_posix(), str(sample.label), path)
        for path, sample in zip(paths, samples, strict=True)
    ]
    digest = hashlib.sha256()
    for name, label, path in sorted(rows):
        digest.update(f"{name}\0{label}\0{file_sha256(path)}\n".encode())
    return digest.hexdigest()


def file_sha256(path: str | os.PathLike) -> str:
    """SHA-256 (hex) of a file's bytes, read in pieces; raises UserError if it cannot be read."""
    try:
        with open_file(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


def read_clips(
    path: Path, found: Layout, selection: Selection, *, frames: bool
) -> Iterator[tuple[str, Reading, str]]:
    """What a benchmark's layout gives, data set by data set: where, what, and advice on what is missing."""
    if found.name == layouts.INDEX:
        advice = "give the folder that holds the data sets as root"
        yield str(path), read_index(path, selection), advice
        return
    advice = "add their frames" if frames else "download the rest"
    for place in found.places:
        source = f"{place.dataset.name} in {place.folder}"
        if place.has_frames() if frames else place.has_videos():
            yield source, read_place(place, selection, frames=frames), advice
        else:
            _LOG.warning("%s has no %s", source, "frames" if frames else "videos")


def _clips(path: Path, found: Layout, selection: Selection, *, frames: bool) -> list[Clip]:
    """The wanted videos; warns of what is missing, or refuses the source."""
    clips = []
    for source, reading, advice in read_clips(path, found, selection, frames=frames):
        reading.missing.settle(source, selection.missing, advice)
        if reading.empty:
            count, first = len(reading.empty), ", ".join(reading.empty[:10])
            _LOG.warning("%s: %d videos without frames are left out: %s", source, count, first)
        if reading.unlisted and not reading.no_list:
            _LOG.warning("%s: %d videos are in no official list and are left out", source, reading.unlisted)
        clips += reading.clips
    return clips


def _images(path: Path, found: Layout, split: str) -> Listing:
    """The images of a source of one's own."""
    if found.name == layouts.TABLE:
        return read_csv(path, split)
    if found.name == layouts.SHARDS:
        return read_shards(shards_of(path) if path.is_dir() else [path], path.resolve().stem)
    return read_folder(path)


def _of_datasets(path: Path, listing: Listing, names: tuple[str, ...]) -> Listing:
    """The images of the named data sets; all of them where none is named."""
    if not names:
        return listing
    there = {listing.strings[code]: code for code in np.unique(listing.codes("dataset"))}
    for name in names:
        if name not in there:
            raise UserError(f"{path} has no data set {name}; it has {', '.join(sorted(there))}")
    return listing.take(np.isin(listing.codes("dataset"), [there[name] for name in names]))


def _where(found: Layout, selection: Selection) -> str:
    """Which part of a benchmark was asked for; empty for other layouts."""
    if found.name not in (layouts.INDEX, layouts.FRAMES, layouts.VIDEOS):
        return ""
    names = [place.dataset.name for place in found.places] or list(selection.datasets)
    return f" of split {selection.split}" + (f" in {', '.join(names)}" if names else "")
