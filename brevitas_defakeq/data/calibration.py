"""Which images calibrate a detector, and which of them are held out to judge the result."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from brevitas_defakeq.data.sources import Sample
from brevitas_defakeq.errors import UserError


def choose_calibration(samples: Sequence[Sample], count: int, *, seed: int) -> list[Sample]:
    """Up to `count` samples: labels in equal shares, then different videos, then data sets in equal shares.

    Where a label, a video or a data set runs out the others fill up; fewer than `count` samples are all taken
    (the caller warns). The choice and its shuffled order depend on `seed` and the samples, not on their
    order. Raises UserError if `count` is below 1.
    """
    if count < 1:
        raise UserError(f"{count} calibration images were asked for; give 1 or more")
    generator = np.random.default_rng(seed)
    by_label = _grouped(sorted(samples, key=_name), lambda sample: sample.label)
    queues = [_videos_first(group, generator) for group in by_label.values()]
    chosen = _round_robin(queues)[:count]
    return [chosen[index] for index in generator.permutation(len(chosen))]


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


def _videos_first(samples: Sequence[Sample], generator: np.random.Generator) -> list[Sample]:
    """One label's samples by preference: one image of every video, then a second of each, and so on."""
    rounds = defaultdict(list)
    seen = defaultdict(int)
    for index in generator.permutation(len(samples)):
        sample = samples[index]
        video = (sample.dataset, sample.video)
        rounds[seen[video]].append(sample)
        seen[video] += 1
    return [sample for turn in sorted(rounds) for sample in _datasets_in_turn(rounds[turn], generator)]


def _datasets_in_turn(samples: Sequence[Sample], generator: np.random.Generator) -> list[Sample]:
    """The samples with their data sets taking turns, in a random order of data sets."""
    queues = list(
        _grouped(sorted(samples, key=lambda sample: sample.dataset), lambda sample: sample.dataset).values()
    )
    return _round_robin([queues[index] for index in generator.permutation(len(queues))])


def _round_robin(queues: Sequence[list[Sample]]) -> list[Sample]:
    """One from each queue in turn until all are empty."""
    longest = max(map(len, queues), default=0)
    return [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)]


def _grouped(samples: Sequence[Sample], key: Callable[[Sample], Hashable]) -> dict[Hashable, list[Sample]]:
    """The samples by key, keys in order of appearance."""
    groups = defaultdict(list)
    for sample in samples:
        groups[key(sample)].append(sample)
    return groups


def _name(sample: Sample) -> tuple[bool, int, str]:
    """Sorts by label (unlabelled last), then by path."""
    return sample.label is None, sample.label or 0, sample.path.as_posix()
