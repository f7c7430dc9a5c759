"""Images, videos and people that two splits share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from brevitas_defakeq.data.benchmark.clips import Clip, listing_of
from brevitas_defakeq.data.identities import identities
from brevitas_defakeq.data.listing import Listing
from brevitas_defakeq.data.missing_files import NAMED
from brevitas_defakeq.data.selection import TEST_SPLIT
from brevitas_defakeq.data.source_overlap import shared_images

#: At most so many images of the first split are searched for in the second.
MAX_COMPARED = 2000


@dataclass(frozen=True)
class SplitContents:
    """The images of a split (none for raw videos), and the (data set, name) of its videos."""

    images: Listing
    videos: frozenset[tuple[str, str]]

    @classmethod
    def of_listing(cls, images: Listing) -> SplitContents:
        datasets, videos = images.codes("dataset"), images.codes("video")
        size = len(images.strings)
        pairs = np.unique(datasets.astype(np.int64) * size + videos).tolist()
        names = frozenset((images.strings[pair // size], images.strings[pair % size]) for pair in pairs)
        return cls(images, names)

    @classmethod
    def of_clips(cls, clips: Iterable[Clip], split: str) -> SplitContents:
        """Those of a benchmark's split."""
        own = [clip for clip in clips if split in clip.splits]
        return cls(listing_of(own, TEST_SPLIT), frozenset((clip.dataset, clip.key) for clip in own))


def between_splits(clips: Sequence[Clip], first: str, second: str) -> list[dict[str, Any]]:
    """What each data set has in both splits; data sets that share nothing are left out."""
    found = []
    for dataset in sorted({clip.dataset for clip in clips}):
        own = [clip for clip in clips if clip.dataset == dataset]
        both = shared(SplitContents.of_clips(own, first), SplitContents.of_clips(own, second))
        if both["images"] or both["videos"] or both["people"]:
            found.append({"dataset": dataset, "between": [first, second], **both})
    return found


def shared(first: SplitContents, second: SplitContents) -> dict[str, Any]:
    """Numbers of shared images, videos and people, and the first ten of each.

    Of more than `MAX_COMPARED` images in the first split an even sample (`compared` images) is searched for.
    """
    sample = first.images.take(slice(None, None, max(1, -(-len(first.images) // MAX_COMPARED))))
    images = shared_images(sample, second.images)
    videos = sorted(first.videos & second.videos)
    people = sorted(_people(first) & _people(second))
    return {
        "compared": len(sample), "images": len(images), "videos": len(videos), "people": len(people),
        "first_images": list(images)[:NAMED],
        "first_videos": ["/".join(name) for name in videos[:NAMED]], "first_people": people[:NAMED],
    }  # fmt: skip


def _people(split: SplitContents) -> set[str]:
    return {person for name in split.videos for person in identities(*name)}
