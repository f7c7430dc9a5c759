"""``check_source``: everything that can be said of a source before it is used."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from brevitas_defakeq.data import layout as layouts
from brevitas_defakeq.data.benchmark.clips import Clip, Reading, listing_of
from brevitas_defakeq.data.check import image_headers, split_overlap, video_counts
from brevitas_defakeq.data.check.problems import problems_of
from brevitas_defakeq.data.layout import Layout, recognise
from brevitas_defakeq.data.listing import Listing, Rows
from brevitas_defakeq.data.selection import DEFAULT, Selection
from brevitas_defakeq.data.sources import list_videos, read_clips, read_source
from brevitas_defakeq.utils.errors import UserError

_BENCHMARKS = (layouts.INDEX, layouts.FRAMES, layouts.VIDEOS)
_NAMED = 10


@dataclass
class _Found:
    """A source's videos by data set, its images (none where only videos lie), and what it lacks."""

    rows: list[video_counts.Row]
    images: Listing
    clips: list[Clip] = field(default_factory=list)
    lacks: list[dict[str, Any]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def check_source(
    path: str | Path, selection: Selection = DEFAULT, *, calibration: str | Path | None = None
) -> dict[str, Any]:
    """What lies at a path, ready for JSON.

    Args:
        path: any source that `read_source` or `list_videos` takes.
        selection: its compression, data sets and root; the splits are all looked at.
        calibration: another source; its training split is compared with this one's test split.

    Returns:
        `layout`; `datasets`: counts per split, label and manipulation; `lacks`: what is missing, empty or
        in no official list; `refused`: why a data set among several cannot be read; `shared`: videos and
        people in two splits; `calibration`: what that source shares with the test split; `label_goes_with`:
        how well an image's format, size and so on predict its label; `unreadable`; `problems`: a line for
        each thing to look at.

    Raises:
        UserError: the source is not there, or not understood.
    """
    path = Path(path)
    selection = replace(selection, split="all", missing=1.0, frames=None)
    layout = recognise(path, selection.datasets)
    found = _benchmark(path, layout, selection) if layout.name in _BENCHMARKS else _own(path, layout)
    if not found.rows:
        raise UserError(
            next(iter(found.refused), f"{path} holds no images and no videos (read as {layout.name})")
        )
    sample, read, unreadable = image_headers.headers_of(found.images)
    findings = {
        "path": str(path),
        "layout": layout.name,
        "datasets": video_counts.counted(found.rows),
        "lacks": found.lacks,
        "refused": found.refused,
        "shared": split_overlap.between_splits(found.clips, "train", "test"),
        "calibration": _calibration(calibration, found, selection) if calibration else None,
        "headers_read": len(read),
        "label_goes_with": image_headers.associations(
            sample, read, folders=layout.name in (layouts.TABLE, layouts.SHARDS)
        ),
        "unreadable": {"count": len(unreadable), "first": unreadable[:_NAMED]},
    }
    return findings | {"problems": problems_of(findings)}


def _benchmark(path: Path, layout: Layout, selection: Selection) -> _Found:
    found = _Found([], Rows().listing())
    parts = [replace(layout, places=(place,)) for place in layout.places] or [layout]
    for part in parts:
        try:
            frames = layout.name != layouts.VIDEOS
            for source, reading, advice in read_clips(path, part, selection, frames=frames):
                if not reading.clips:
                    reading.missing.settle(source, selection.missing, advice)
                found.clips += reading.clips
                found.lacks.append(_lack(reading))
        except UserError as error:  # one data set of several; the others are looked at all the same
            found.refused.append(str(error))
    found.rows = video_counts.of_clips(found.clips)
    if layout.name != layouts.VIDEOS:
        found.images = listing_of(found.clips, selection)
    return found


def _lack(reading: Reading) -> dict[str, Any]:
    missing = reading.missing
    return {
        "datasets": sorted({clip.dataset for clip in reading.clips}), "no_list": reading.no_list,
        "what": missing.what, "total": missing.total, "missing": missing.count,
        "first_missing": missing.first, "empty": len(reading.empty), "first_empty": reading.empty[:_NAMED],
        "unlisted": reading.unlisted,
    }  # fmt: skip


def _own(path: Path, layout: Layout) -> _Found:
    """A folder, CSV or shards: images, or else video files."""
    try:
        images = read_source(path)
    except UserError:
        if layout.name not in (layouts.CLASSES, layouts.PLAIN):
            raise
        return _Found(video_counts.of_videos(list_videos(path)), Rows().listing())
    return _Found(video_counts.of_listing(images), images)


def _calibration(path: str | Path, found: _Found, selection: Selection) -> dict[str, Any]:
    train = split_overlap.Part.of_listing(read_source(path, replace(selection, split="train", datasets=())))
    known = bool(found.clips)
    test = (
        split_overlap.Part.of_clips(found.clips, "test")
        if known
        else split_overlap.Part.of_listing(found.images)
    )
    return {"path": str(path), **split_overlap.shared(train, test)}
