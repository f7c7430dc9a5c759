"""What two parts of the data share: images, videos, people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from brevitas_defakeq.data.benchmark.clips import Clip, listing_of
from brevitas_defakeq.data.identities import identities
from brevitas_defakeq.data.listing import Listing
from brevitas_defakeq.data.selection import DEFAULT
from brevitas_defakeq.data.source_overlap import shared_images

#: Images of the first part that are looked for in the second.
SAMPLE = 2000
_NAMED = 10


@dataclass(frozen=True)
class Part:
    """Images, and the (data set, video) that they are of; where only videos lie there are no images."""

    images: Listing
    videos: frozenset[tuple[str, str]]

    @classmethod
    def of_listing(cls, images: Listing) -> Part:
        datasets, videos = images.codes("dataset"), images.codes("video")
        size = len(images.strings)
        pairs = np.unique(datasets.astype(np.int64) * size + videos).tolist()
        names = frozenset((images.strings[pair // size], images.strings[pair % size]) for pair in pairs)
        return cls(images, names)

    @classmethod
    def of_clips(cls, clips: Iterable[Clip], split: str) -> Part:
        """Those of a split."""
        own = [clip for clip in clips if split in clip.splits]
        return cls(listing_of(own, DEFAULT), frozenset((clip.dataset, clip.key) for clip in own))


def between_splits(clips: Sequence[Clip], first: str, second: str) -> list[dict[str, Any]]:
    """The data sets that have anything in both splits."""
    found = []
    for dataset in sorted({clip.dataset for clip in clips}):
        own = [clip for clip in clips if clip.dataset == dataset]
        both = shared(Part.of_clips(own, first), Part.of_clips(own, second))
        if both["images"] or both["videos"] or both["people"]:
            found.append({"dataset": dataset, "between": [first, second], **both})
    return found


def shared(first: Part, second: Part) -> dict[str, Any]:
    """Numbers of shared images, videos and people, and the first ten of each.

    Of more than 2,000 images in the first part an even sample (`compared`) is looked for in the second.
    """
    sample = first.images.take(slice(None, None, max(1, -(-len(first.images) // SAMPLE))))
    images = shared_images(sample, second.images)
    videos = sorted(first.videos & second.videos)
    people = sorted(_people(first) & _people(second))
    return {
        "compared": len(sample), "images": len(images), "videos": len(videos), "people": len(people),
        "first_images": list(images)[:_NAMED],
        "first_videos": ["/".join(name) for name in videos[:_NAMED]], "first_people": people[:_NAMED],
    }  # fmt: skip


def _people(part: Part) -> set[str]:
    return {person for name in part.videos for person in identities(*name)}
