"""Which images calibrate a detector, and which of them are held out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

import numpy as np

from brevitas_defakeq.data.balanced_sampling import RoundRobin, SampleQueue, VideoQueue, take_first
from brevitas_defakeq.data.identities import identities
from brevitas_defakeq.data.listing import Listing
from brevitas_defakeq.imaging.sample import Sample
from brevitas_defakeq.utils.errors import UserError

#: Videos of a manipulation to choose from, for each requested image: enough to find different people.
_CANDIDATES = 64

#: Data set -> manipulation -> the rows of each video.
_Datasets = dict[int, dict[int, list[np.ndarray]]]


def choose_calibration(samples: Sequence[Sample], count: int, *, seed: int) -> list[Sample]:
    """Up to `count` samples, balanced over labels, within them over data sets, then over manipulations.

    Videos differ as far as possible; people not yet taken with that label come first (000_003 and 003_000 of
    FaceForensics++ show the same two). Where a label, data set or manipulation runs out, the others fill up;
    of fewer than `count` samples all are taken (the caller warns). The choice and its shuffled order depend
    on `seed` and the samples, not on the samples' order. Raises UserError if `count` is below 1.
    """
    if count < 1:
        raise UserError(f"{count} calibration images were asked for; give 1 or more")
    generator = np.random.default_rng(seed)
    listing = Listing.of(samples)
    labels = _videos(listing)
    queue = RoundRobin([_label_queue(listing, labels[label], count, generator) for label in labels])
    rows = list(take_first(queue, count))
    return [samples[rows[index]] for index in generator.permutation(len(rows))]


def split_held_out(count: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(train, held out): sorted int64 positions 0..count-1, a random `fraction` of them held out.

    A fraction above 0 holds out at least one of two or more positions and always leaves one to train on.
    Raises UserError unless 0 <= fraction < 1.
    """
    if not 0 <= fraction < 1:
        raise UserError(f"a held-out fraction of {fraction} is not allowed; give 0 or more and less than 1")
    held_count = min(max(round(count * fraction), int(fraction > 0)), max(count - 1, 0))
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[held_count:]), np.sort(order[:held_count])


def _videos(listing: Listing) -> dict[int, _Datasets]:
    """Label -> data set -> manipulation -> the rows of each video, all sorted by name."""
    ranks = listing.ranks()
    columns = [ranks[listing.codes(name)] for name in ("name", "folder", "video", "manipulation", "dataset")]
    columns.append(np.where(listing.labels < 0, 2, listing.labels))  # unlabelled last
    rows = np.lexsort(columns)
    changes = np.any([np.diff(column[rows]) != 0 for column in columns[2:]], axis=0)
    found: dict[int, _Datasets] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for own in np.split(rows, np.flatnonzero(changes) + 1) if len(rows) else ():
        dataset, manipulation = (int(listing.codes(name)[own[0]]) for name in ("dataset", "manipulation"))
        found[int(listing.labels[own[0]])][dataset][manipulation].append(own)
    return found


def _label_queue(
    listing: Listing,
    datasets: _Datasets,
    count: int,
    generator: np.random.Generator,
) -> RoundRobin:
    """One label's videos: data sets in rotation, of each its manipulations in rotation, in random order."""
    taken: Counter[Hashable] = Counter()

    def dataset_queue(manipulations: dict[int, list[np.ndarray]]) -> RoundRobin:
        queues = [
            _manipulation_queue(listing, videos, taken, count, generator) for videos in manipulations.values()
        ]
        return RoundRobin(_shuffled(queues, generator))

    return RoundRobin(_shuffled([dataset_queue(own) for own in datasets.values()], generator))


def _manipulation_queue(
    listing: Listing,
    videos: list[np.ndarray],
    taken: Counter[Hashable],
    count: int,
    generator: np.random.Generator,
) -> VideoQueue:
    """The videos of one manipulation; of very many a random part."""
    chosen = generator.permutation(len(videos))[: _CANDIDATES * count]
    shown: list[tuple[Hashable, np.ndarray]] = []
    for rows in (videos[index] for index in chosen):
        dataset, video = (listing.strings[listing.codes(name)[rows[0]]] for name in ("dataset", "video"))
        shown.append((identities(dataset, video) or (dataset, video), rows))
    return VideoQueue(shown, taken, generator)


def _shuffled(queues: Sequence[SampleQueue], generator: np.random.Generator) -> list[SampleQueue]:
    return [queues[index] for index in generator.permutation(len(queues))]
