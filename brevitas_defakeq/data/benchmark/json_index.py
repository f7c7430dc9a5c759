"""DeepfakeBench's JSON index: data set, label, split, (compression,) video, frames.

{"FF-DF": {"FF-real": {"test": {"c23": {"953": {"label": "FF-real", "frames": ["...", ...]}}}}}}
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brevitas_defakeq.data.benchmark.catalog import CATALOG, KINDS
from brevitas_defakeq.data.benchmark.clips import Clip, Reading
from brevitas_defakeq.data.benchmark.index_file import Entry, level_of, load_index
from brevitas_defakeq.data.benchmark.rebase import Rebase
from brevitas_defakeq.data.missing_files import Missing
from brevitas_defakeq.data.selection import COMPRESSIONS, SPLITS, Selection
from brevitas_defakeq.imaging.stored_files import absent
from brevitas_defakeq.utils.errors import UserError


@dataclass(slots=True)
class _Wanted:
    """An entry with where it stands: the label's name it stands under, compression and splits."""

    entry: Entry
    kind: str
    compression: str
    splits: tuple[str, ...]


def located(path: Path) -> tuple[Path, str | None]:
    """The index's file, and the compression that a pseudo name as in `FF-DF_c40.json` forces."""
    stem, _, compression = path.stem.rpartition("_")
    if path.suffix.lower() != ".json" or compression not in COMPRESSIONS:
        return path, None
    return path if path.exists() else path.with_name(f"{stem}{path.suffix}"), compression


def read_index(path: Path, selection: Selection) -> Reading:
    """The wanted videos of an index, by label and name, with those of their frames that are there.

    `missing` counts frames. A video without frames is left out, and so is what stands where videos should
    (as in DFDC's `val`). Raises UserError for what is no index, an unknown data set, label or compression,
    and for a video whose label contradicts the one it stands under.
    """
    path, forced = located(path)
    index = load_index(path)
    rebase = Rebase(path, selection.root, {*CATALOG, *index})
    reading = Reading([], Missing("frames"))
    for dataset in selection.datasets or index:
        if dataset not in index:
            raise UserError(f"{path} has no data set {dataset}; it has {', '.join(index)}")
        videos = _videos(path, index[dataset], selection, forced or selection.compression)
        for (kind, name), wanted in sorted(videos.items(), key=lambda item: item[0]):
            label = _label(path, kind)
            if label != _label(path, wanted.kind):
                raise UserError(
                    f"{path}: the video {name} stands under {wanted.kind} and is labelled {kind}; mend the "
                    "index"
                )
            if not wanted.entry.frames:
                reading.empty.append(f"{kind}/{name}")
            for place, names in _present(wanted.entry, rebase, reading.missing):
                reading.clips.append(
                    Clip(dataset, kind, label, wanted.compression, name, wanted.splits, place, names)
                )
    return reading


def _videos(
    path: Path, groups: dict[str, Any], selection: Selection, compression: str
) -> dict[tuple[str, str], _Wanted]:
    """(label's name, video) -> the video, once, with all the splits it stands in."""
    found: dict[tuple[str, str], _Wanted] = {}
    levels: set[str] = set()
    wanted = SPLITS if selection.split == "all" else (selection.split,)
    for group, splits in groups.items():
        for split in wanted:
            videos, level = level_of(path, level_of(path, splits).get(split, {})), ""
            if there := _levels(videos):
                levels |= there
                videos, level = level_of(path, videos.get(compression, {})), compression
            for name, entry in videos.items():
                if isinstance(entry, Entry):
                    key = entry.kind or group, name
                    earlier = found[key].splits if key in found else ()
                    found[key] = _Wanted(entry, group, level, (*earlier, split))
    if levels and compression not in levels:
        raise UserError(
            f"{path} has no {compression}; it has {', '.join(sorted(levels))}, which compression= chooses"
        )
    return found


def _levels(videos: dict[str, Any]) -> set[str]:
    """The compressions, where they stand between the split and its videos."""
    return {name for name in COMPRESSIONS if isinstance(videos.get(name), dict)}


def _present(entry: Entry, rebase: Rebase, missing: Missing) -> list[tuple[Path, list[str]]]:
    """The entry's frames that are there, by folder as it is called here; the others are counted."""
    found = []
    for named, names in entry.frames.items():
        folder = rebase(named)
        lost = set(names if folder is None else absent(folder, names))
        missing.add(len(names), [f"{named}/{name}" for name in names if name in lost])
        if len(lost) < len(names):
            found.append((Path(folder), [name for name in names if name not in lost] if lost else names))
    return found


def _label(path: Path, kind: str) -> int:
    """0 or 1 for a label's name; one that is not known must end in real, or have fake in it."""
    if kind in KINDS:
        return KINDS[kind]
    word = kind.lower()
    if word.endswith("real") == ("fake" in word):
        raise UserError(
            f"{path}: the label {kind} is not known; name it as in {', '.join(list(KINDS)[:5])}, or so that "
            "it ends in real or has fake in it"
        )
    return int("fake" in word)
