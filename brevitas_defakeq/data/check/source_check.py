"""``check_source``: checks a source before it is used."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from brevitas_defakeq.data.benchmark.clips import Clip, DatasetContents, listing_of
from brevitas_defakeq.data.check import image_headers, split_overlap, video_counts
from brevitas_defakeq.data.check.problems import problems_of
from brevitas_defakeq.data.check.split_overlap import SplitContents
from brevitas_defakeq.data.layout import BENCHMARK_LAYOUTS, Layout, LayoutKind, recognise
from brevitas_defakeq.data.left_out import LeftOut
from brevitas_defakeq.data.listing import Listing, ListingBuilder
from brevitas_defakeq.data.missing_files import NAMED
from brevitas_defakeq.data.selection import TEST_SPLIT, Selection
from brevitas_defakeq.data.sources import list_videos, read_clips, read_source
from brevitas_defakeq.utils.errors import UserError


@dataclass
class _SourceContents:
    """A source's videos, its images (none where it has only videos), and what it lacks."""

    rows: list[video_counts.VideoRow]
    images: Listing
    clips: list[Clip] = field(default_factory=list)
    lacks: list[dict[str, Any]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)


def check_source(
    path: str | Path, selection: Selection = TEST_SPLIT, *, calibration: str | Path | None = None
) -> dict[str, Any]:
    """The contents of a source and its problems, JSON-able.

    Args:
        path: any source that `read_source` or `list_videos` accepts.
        selection: its compression, data sets and root; all splits are checked.
        calibration: another source, whose training split is compared with this one's test split.

    Returns:
        `layout`; `datasets`: counts by split, label and manipulation; `lacks`: what is missing, empty or in
        no official list; `refused`: why a data set among several cannot be read; `left_out`: the other files
        and folders, in words; `shared`: images, videos and people in two splits; `calibration`: what that
        source shares with the test split; `label_goes_with`: how well an image's format, size and so on
        predict its label; `unreadable`; `problems`: a line for each finding to look at.

    Raises:
        UserError: the source does not exist, or is not understood.
    """
    path = Path(path)
    selection = replace(selection, split="all", missing=1.0, frames=None)
    layout = recognise(path, selection.datasets)
    if layout.kind in BENCHMARK_LAYOUTS:
        found = _benchmark(path, layout, selection)
    else:
        found = _own(path, layout, selection)
    if not found.rows:
        raise UserError(
            next(iter(found.refused), f"{path} holds no images and no videos (read as {layout.kind})")
        )
    sample, read, unreadable = image_headers.headers_of(found.images)
    findings: dict[str, Any] = {
        "path": str(path),
        "layout": layout.kind.value,
        "datasets": video_counts.counted(found.rows),
        "lacks": found.lacks,
        "refused": found.refused,
        "left_out": str(found.left_out),
        "shared": split_overlap.between_splits(found.clips, "train", "test"),
        "calibration": _calibration(calibration, found, selection) if calibration else None,
        "headers_read": len(read),
        "label_goes_with": image_headers.associations(
            sample, read, folders=layout.kind in (LayoutKind.TABLE, LayoutKind.SHARDS)
        ),
        "unreadable": {"count": len(unreadable), "first": unreadable[:NAMED]},
    }
    return findings | {"problems": problems_of(findings)}


def _benchmark(path: Path, layout: Layout, selection: Selection) -> _SourceContents:
    found = _SourceContents([], ListingBuilder().listing())
    layouts = [replace(layout, folders=(folder,)) for folder in layout.folders] or [layout]
    for single in layouts:
        try:
            frames = layout.kind != LayoutKind.VIDEOS
            for source, contents, advice in read_clips(path, single, selection, frames=frames):
                if not contents.clips:
                    contents.missing.warn_or_refuse(source, selection.missing, advice)
                found.clips += contents.clips
                found.lacks.append(_lack(contents))
                found.left_out.files += contents.left_out.files
        except UserError as error:  # of one data set; the others are checked all the same
            found.refused.append(str(error))
    found.rows = video_counts.of_clips(found.clips)
    if layout.kind != LayoutKind.VIDEOS:
        found.images = listing_of(found.clips, selection)
    return found


def _lack(contents: DatasetContents) -> dict[str, Any]:
    missing = contents.missing
    return {
        "datasets": sorted({clip.dataset for clip in contents.clips}), "no_list": contents.no_list,
        "what": missing.what, "total": missing.total, "missing": missing.count,
        "first_missing": missing.first, "empty": len(contents.empty), "first_empty": contents.empty[:NAMED],
        "unlisted": contents.unlisted,
    }  # fmt: skip


def _own(path: Path, layout: Layout, selection: Selection) -> _SourceContents:
    """The contents of a folder, CSV or shards: images, or else video files."""
    selection, left_out = replace(selection, split="test"), LeftOut()
    try:
        images = read_source(path, selection, left_out)
    except UserError:
        if layout.kind not in (LayoutKind.CLASSES, LayoutKind.PLAIN):
            raise
        left_out = LeftOut()
        try:
            videos = video_counts.of_videos(list_videos(path, selection, left_out))
        except UserError:
            held = f"; it holds {left_out}" if left_out else ""
            raise UserError(f"{path} holds no images and no videos{held}") from None
        return _SourceContents(videos, ListingBuilder().listing(), left_out=left_out)
    return _SourceContents(video_counts.of_listing(images), images, left_out=left_out)


def _calibration(path: str | Path, found: _SourceContents, selection: Selection) -> dict[str, Any]:
    train = SplitContents.of_listing(read_source(path, replace(selection, split="train", datasets=())))
    benchmark = bool(found.clips)
    test = (
        SplitContents.of_clips(found.clips, "test") if benchmark else SplitContents.of_listing(found.images)
    )
    return {"path": str(path), **split_overlap.shared(train, test)}
