"""DeepfakeBench's JSON index: data set, label, split, (compression,) video, frames.

{"FF-DF": {"FF-real": {"test": {"c23": {"953": {"label": "FF-real", "frames": ["...", ...]}}}}}}
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brevitas_defakeq.data.benchmark.catalog import CATALOG, LABEL_NAMES
from brevitas_defakeq.data.benchmark.clips import Clip, DatasetContents
from brevitas_defakeq.data.benchmark.index_file import IndexEntry, level_of, load_index
from brevitas_defakeq.data.benchmark.rebase import Rebase
from brevitas_defakeq.data.missing_files import MissingFiles
from brevitas_defakeq.data.selection import COMPRESSIONS, SPLITS, Selection
from brevitas_defakeq.imaging.stored_files import absent
from brevitas_defakeq.utils.errors import UserError


@dataclass(slots=True)
class _IndexedVideo:
    """A video of the index, and the label's name, compression and splits that it is listed under."""

    entry: IndexEntry
    label_name: str
    compression: str
    splits: tuple[str, ...]


def located(path: Path) -> tuple[Path, str | None]:
    """The index's file, and the compression that a name such as `FF-DF_c40.json` asks for, else None."""
    stem, _, compression = path.stem.rpartition("_")
    if path.suffix.lower() != ".json" or compression not in COMPRESSIONS:
        return path, None
    return path if path.exists() else path.with_name(f"{stem}{path.suffix}"), compression


def read_index(path: Path, selection: Selection) -> DatasetContents:
    """The selected videos of an index, sorted by label and name, with their frames that exist.

    `missing` counts frames. Videos without frames are left out. Raises UserError for a file that is no index,
    for an unknown data set, label or compression, and for a video labelled otherwise than it is listed.
    """
    path, forced = located(path)
    index = load_index(path)
    rebase = Rebase(path, selection.root, {*CATALOG, *index})
    contents = DatasetContents([], MissingFiles("frames"))
    for dataset in selection.datasets or index:
        if dataset not in index:
            raise UserError(f"{path} has no data set {dataset}; it has {', '.join(index)}")
        videos = _videos(path, index[dataset], selection, forced or selection.compression)
        for (label_name, name), video in sorted(videos.items(), key=lambda item: item[0]):
            label = _label(path, label_name)
            if label != _label(path, video.label_name):
                raise UserError(
                    f"{path}: the video {name} is listed under {video.label_name} and labelled {label_name}; "
                    "fix the index"
                )
            if not video.entry.frames:
                contents.empty.append(f"{label_name}/{name}")
            for folder, names in _present(video.entry, rebase, contents.missing):
                contents.clips.append(
                    Clip(dataset, label_name, label, video.compression, name, video.splits, folder, names)
                )
    return contents


def _videos(
    path: Path, groups: dict[str, Any], selection: Selection, compression: str
) -> dict[tuple[str, str], _IndexedVideo]:
    """(label's name, video's name) -> the video with all splits that list it."""
    found: dict[tuple[str, str], _IndexedVideo] = {}
    levels: set[str] = set()
    wanted = SPLITS if selection.split == "all" else (selection.split,)
    for group, splits in groups.items():
        for split in wanted:
            videos, level = level_of(path, level_of(path, splits).get(split, {})), ""
            if present := _levels(videos):
                levels |= present
                videos, level = level_of(path, videos.get(compression, {})), compression
            for name, entry in videos.items():
                if isinstance(entry, IndexEntry):
                    key = entry.label_name or group, name
                    earlier = found[key].splits if key in found else ()
                    found[key] = _IndexedVideo(entry, group, level, (*earlier, split))
    if levels and compression not in levels:
        raise UserError(
            f"{path} has no {compression}; it has {', '.join(sorted(levels))}, which compression= chooses"
        )
    return found


def _levels(videos: dict[str, Any]) -> set[str]:
    """The compressions, where the index has a level for them between split and videos."""
    return {name for name in COMPRESSIONS if isinstance(videos.get(name), dict)}


def _present(entry: IndexEntry, rebase: Rebase, missing: MissingFiles) -> list[tuple[Path, list[str]]]:
    """(folder on this machine, names) of the entry's frames that exist; `missing` counts the others."""
    found = []
    for named, names in entry.frames.items():
        folder = rebase(named)
        lost = set(names if folder is None else absent(folder, names))
        missing.add(len(names), [f"{named}/{name}" for name in names if name in lost])
        if folder is not None and len(lost) < len(names):
            found.append((Path(folder), [name for name in names if name not in lost] if lost else names))
    return found


def _label(path: Path, name: str) -> int:
    """0 or 1 for a label's name; an unknown one must end in "real" or contain "fake"."""
    if name in LABEL_NAMES:
        return LABEL_NAMES[name]
    word = name.lower()
    if word.endswith("real") == ("fake" in word):
        raise UserError(
            f"{path}: the label {name} is not known; name it as in {', '.join(list(LABEL_NAMES)[:5])}, or so "
            "that it ends in real or has fake in it"
        )
    return int("fake" in word)
