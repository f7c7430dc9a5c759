"""Counts of videos and images by data set, split, label and manipulation."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import Any

import numpy as np

from brevitas_defakeq.data.benchmark.clips import Clip
from brevitas_defakeq.data.listing import Listing
from brevitas_defakeq.data.selection import SPLITS
from brevitas_defakeq.imaging.sample import LABEL_WORDS, Video

_ORDER = (*SPLITS, "all", "unlisted")

#: Data set, splits, label, manipulation, images (0 for a video that is not decoded).
VideoRow = tuple[str, tuple[str, ...], int | None, str, int]


def of_clips(clips: Iterable[Clip]) -> list[VideoRow]:
    """A row for each video of a benchmark; "unlisted" is the split of videos in no list."""
    return [
        (clip.dataset, clip.splits or ("unlisted",), clip.label, clip.manipulation, len(clip.frames))
        for clip in clips
    ]


def of_videos(videos: Iterable[Video]) -> list[VideoRow]:
    """A row for each video file of a folder."""
    return [(video.dataset, ("all",), video.label, video.manipulation, 0) for video in videos]


def of_listing(listing: Listing) -> list[VideoRow]:
    """A row for each video of a source without splits."""
    _, firsts, images = np.unique(listing.videos(), return_index=True, return_counts=True)
    rows: list[VideoRow] = []
    for first, count in zip(firsts, images, strict=True):
        sample = listing[int(first)]
        rows.append((sample.dataset, ("all",), sample.label, sample.manipulation, int(count)))
    return rows


def counted(rows: Iterable[VideoRow]) -> list[dict[str, Any]]:
    """A JSON object for each data set: counts by split and label, by manipulation, and frames per video."""
    found: dict[str, dict[str, Any]] = {}
    frames: dict[str, list[int]] = {}
    for dataset, splits, label, manipulation, images in rows:
        own = found.setdefault(dataset, {"name": dataset, "splits": {}, "manipulations": {}})
        for split in splits:
            _add(own["splits"].setdefault(split, {}), LABEL_WORDS[label], images)
        if manipulation:
            _add(own["manipulations"], manipulation, images)
        frames.setdefault(dataset, []).append(images)
    for dataset, own in found.items():
        own["splits"] = dict(sorted(own["splits"].items(), key=lambda item: _ORDER.index(item[0])))
        own["frames_per_video"] = {
            "least": min(frames[dataset]), "median": median(frames[dataset]), "most": max(frames[dataset])
        }  # fmt: skip
    return [found[dataset] for dataset in sorted(found)]


def _add(counts: dict[str, Any], name: str, images: int) -> None:
    own = counts.setdefault(name, {"videos": 0, "images": 0})
    own["videos"] += 1
    own["images"] += images
