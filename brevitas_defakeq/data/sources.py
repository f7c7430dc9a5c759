"""Reads sources of images and videos: indexes, frames, folders, CSV files and tar shards."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from brevitas_defakeq.data.benchmark.clips import Clip, DatasetContents, listing_of, videos_of
from brevitas_defakeq.data.benchmark.dataset_folder import read_dataset_folder
from brevitas_defakeq.data.benchmark.json_index import read_index
from brevitas_defakeq.data.csv_file import read_csv
from brevitas_defakeq.data.folders import folder_videos, read_folder
from brevitas_defakeq.data.layout import BENCHMARK_LAYOUTS, Layout, LayoutKind, recognise
from brevitas_defakeq.data.left_out import LeftOut
from brevitas_defakeq.data.listing import Listing
from brevitas_defakeq.data.selection import TEST_SPLIT, Selection
from brevitas_defakeq.data.shards import read_shards, shards_of
from brevitas_defakeq.imaging.sample import VIDEO_SUFFIXES, Sample, Video
from brevitas_defakeq.imaging.stored_files import file_sha256
from brevitas_defakeq.utils.errors import UserError

_LOG = logging.getLogger(__name__)


def read_source(
    path: str | os.PathLike, selection: Selection = TEST_SPLIT, left_out: LeftOut | None = None
) -> Listing:
    """All images of a source, in the same order on every machine.

    Args:
        path: a DeepfakeBench index (.json), a data set's frames folders, or the folder above several of them;
            a folder with `real/` and `fake/` (or `0_real/` and `1_fake/`), searched to any depth;
            a CSV with the columns `path,label[,video][,dataset][,manipulation][,split]`;
            WebDataset shards: a .tar, or a folder of them;
            a plain folder of images (labels None).
        selection: which of them to read.
        left_out: filled with the other files of folders and shards; None says them in a warning.

    Raises:
        UserError: the source is missing, empty, damaged, or not understood.
    """
    path, others = Path(path), LeftOut() if left_out is None else left_out
    layout = recognise(path, selection.datasets)
    if layout.kind == LayoutKind.VIDEOS:
        names = ", ".join(folder.dataset.name for folder in layout.folders)
        raise UserError(f"{path} holds the videos of {names} and no frames; cut face crops out of them first")
    if layout.kind in (LayoutKind.INDEX, LayoutKind.FRAMES):
        listing = listing_of(_clips(path, layout, selection, others, frames=True), selection)
    else:
        listing = _of_datasets(path, _images(path, layout, selection.split, others), selection.datasets)
        listing = listing.thinned(selection.frames, first=selection.first)
    if not len(listing):
        raise UserError(f"{path} holds no images{_where(layout, selection)}{_instead(others)}")
    if left_out is None:
        others.warn(path)
    return listing


def list_videos(
    path: str | os.PathLike, selection: Selection = TEST_SPLIT, left_out: LeftOut | None = None
) -> list[Video]:
    """All video files of a source, in the same order on every machine.

    `path` is a data set as downloaded (or the folder above several), a folder with `real/` and `fake/`, a
    CSV, or a plain folder of videos (labels None). `left_out` and errors are those of `read_source`.
    """
    path, others = Path(path), LeftOut() if left_out is None else left_out
    layout = recognise(path, selection.datasets)
    if layout.kind in (LayoutKind.FRAMES, LayoutKind.VIDEOS):
        videos = videos_of(_clips(path, layout, selection, others, frames=False), selection)
    elif layout.kind == LayoutKind.TABLE:
        videos = []
        for row in read_csv(path, selection.split):
            if row.path.suffix.lower() in VIDEO_SUFFIXES:
                videos.append(Video(row.path, row.label, row.video, row.dataset, row.manipulation))
            else:
                others.add(row.path.name)
    elif layout.kind in (LayoutKind.CLASSES, LayoutKind.PLAIN):
        videos = folder_videos(path, others)
    else:
        raise UserError(f"{path}: a {layout.kind} lists images, not videos; give the videos' folder")
    if not videos:
        raise UserError(f"{path} holds no videos{_where(layout, selection)}{_instead(others)}")
    if left_out is None:
        others.warn(path)
    return videos


def data_hash(samples: Iterable[Sample]) -> str:
    """SHA-256 (hex) over each image's path below the common folder, label and bytes, sorted by path.

    It depends neither on the folder nor on the samples' order.
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


def read_clips(
    path: Path, layout: Layout, selection: Selection, *, frames: bool
) -> Iterator[tuple[str, DatasetContents, str]]:
    """(description of the source, its contents, advice on missing files) for each data set of a benchmark."""
    if layout.kind == LayoutKind.INDEX:
        advice = "give root=FOLDER, the folder that holds the data sets"
        yield str(path), read_index(path, selection), advice
        return
    advice = "add their frames" if frames else "download the rest"
    for folder in layout.folders:
        source = f"{folder.dataset.name} in {folder.path}"
        if folder.has_frames() if frames else folder.has_videos():
            yield source, read_dataset_folder(folder, selection, frames=frames), advice
        else:
            _LOG.warning("%s has no %s", source, "frames" if frames else "videos")


def _clips(
    path: Path, layout: Layout, selection: Selection, left_out: LeftOut, *, frames: bool
) -> list[Clip]:
    """The selected videos; warns of missing files, or refuses the source."""
    clips: list[Clip] = []
    for source, contents, advice in read_clips(path, layout, selection, frames=frames):
        contents.missing.warn_or_refuse(source, selection.missing, advice)
        if contents.empty:
            count, first = len(contents.empty), ", ".join(contents.empty[:10])
            _LOG.warning("%s: %d videos without frames are left out: %s", source, count, first)
        if contents.unlisted and not contents.no_list:
            _LOG.warning("%s: %d videos are in no official list and are left out", source, contents.unlisted)
        clips += contents.clips
        left_out.files += contents.left_out.files
    return clips


def _images(path: Path, layout: Layout, split: str, left_out: LeftOut) -> Listing:
    """The images of a folder, CSV or shards."""
    if layout.kind == LayoutKind.TABLE:
        return read_csv(path, split)
    if layout.kind == LayoutKind.SHARDS:
        shards = shards_of(path) if path.is_dir() else [path]
        return read_shards(shards, path.resolve().stem, left_out)
    return read_folder(path, left_out)


def _instead(left_out: LeftOut) -> str:
    """What a source without images or videos holds, for messages."""
    return f"; it holds {left_out}" if left_out else ""


def _of_datasets(path: Path, listing: Listing, names: Sequence[str]) -> Listing:
    """The images of the named data sets; all of them where none is named."""
    if not names:
        return listing
    present = {listing.strings[code]: code for code in np.unique(listing.codes("dataset"))}
    for name in names:
        if name not in present:
            raise UserError(f"{path} has no data set {name}; it has {', '.join(sorted(present))}")
    return listing.take(np.isin(listing.codes("dataset"), [present[name] for name in names]))


def _where(layout: Layout, selection: Selection) -> str:
    """The requested part of a benchmark, for messages; empty for other layouts."""
    if layout.kind not in BENCHMARK_LAYOUTS:
        return ""
    names = [folder.dataset.name for folder in layout.folders] or list(selection.datasets)
    return f" of split {selection.split}" + (f" in {', '.join(names)}" if names else "")
