"""Which images calibrate a detector, and which of them are held out to judge the result."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from brevitas_defakeq.data.balanced_sampling import Turns, Videos, first
from brevitas_defakeq.data.identities import identities
from brevitas_defakeq.data.listing import Listing
from brevitas_defakeq.imaging.sample import Sample
from brevitas_defakeq.utils.errors import UserError

#: Videos of a manipulation to choose from, for each image that is asked for: enough to find other people.
_CANDIDATES = 64


def choose_calibration(samples: Sequence[Sample], count: int, *, seed: int) -> list[Sample]:
    """Up to `count` samples in equal shares: of labels, within them of data sets, then of manipulations.

    Videos are different as far as possible, first those of people who were not taken before with that label
    (000_003 and 003_000 of FaceForensics++ show the same two). Where a label, data set or manipulation runs
    out the others fill up; fewer than `count` samples are all taken (the caller warns). The choice and its
    shuffled order depend on `seed` and the samples, not on their order. Raises UserError if `count` is
    below 1.
    """
    if count < 1:
        raise UserError(f"{count} calibration images were asked for; give 1 or more")
    generator = np.random.default_rng(seed)
    listing = Listing.of(samples)
    labels = _videos(listing)
    queue = Turns([_turns(listing, labels[label], count, generator) for label in labels])
    rows = list(first(queue, count))
    return [samples[rows[place]] for place in generator.permutation(len(rows))]


def split_held_out(count: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(train, held): sorted int64 positions 0..count-1, `fraction` of them held out, at random.

    A fraction above 0 holds out at least one position of two or more and always leaves one to train on.
    Raises UserError unless 0 <= fraction < 1.
    """
    if not 0 <= fraction < 1:
        raise UserError(f"a held-out fraction of {fraction} is not allowed; give 0 or more and less than 1")
    held_count = min(max(round(count * fraction), int(fraction > 0)), max(count - 1, 0))
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[held_count:]), np.sort(order[:held_count])


def _videos(listing: Listing) -> dict[int, dict[int, dict[int, list[np.ndarray]]]]:
    """Label -> data set -> manipulation -> the rows of each video, all in the order of their names."""
    ranks = listing.ranks()
    columns = [ranks[listing.codes(name)] for name in ("name", "folder", "video", "manipulation", "dataset")]
    columns.append(np.where(listing.labels < 0, 2, listing.labels))  # unlabelled last
    rows = np.lexsort(columns)
    changes = np.any([np.diff(column[rows]) != 0 for column in columns[2:]], axis=0)
    found = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for own in np.split(rows, np.flatnonzero(changes) + 1) if len(rows) else ():
        dataset, manipulation = (int(listing.codes(name)[own[0]]) for name in ("dataset", "manipulation"))
        found[int(listing.labels[own[0]])][dataset][manipulation].append(own)
    return found


def _turns(
    listing: Listing,
    datasets: dict[int, dict[int, list[np.ndarray]]],
    count: int,
    generator: np.random.Generator,
) -> Turns:
    """One label's videos: data sets in turn, of each its manipulations in turn, both in a random order."""
    taken = Counter()
    queues = [
        Turns(
            _shuffled(
                [_queue(listing, videos, taken, count, generator) for videos in kinds.values()], generator
            )
        )
        for kinds in datasets.values()
    ]
    return Turns(_shuffled(queues, generator))


def _queue(
    listing: Listing,
    videos: list[np.ndarray],
    taken: Counter,
    count: int,
    generator: np.random.Generator,
) -> Videos:
    """The videos of one manipulation, or as many of them as are enough to choose from."""
    chosen = generator.permutation(len(videos))[: _CANDIDATES * count]
    shown = []
    for rows in (videos[place] for place in chosen):
        dataset, video = (listing.strings[listing.codes(name)[rows[0]]] for name in ("dataset", "video"))
        shown.append((identities(dataset, video) or (dataset, video), rows))
    return Videos(shown, taken, generator)


def _shuffled(queues: list, generator: np.random.Generator) -> list:
    return [queues[place] for place in generator.permutation(len(queues))]
