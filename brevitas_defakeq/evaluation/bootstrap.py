"""How sure an AUC is: its 95 % interval by resampling videos.

Frames of a video are not independent, so whole videos are drawn. An AUC under drawn videos is one pass over
the frames, which are sorted once: every real counts as often as its video was drawn, every fake counts the
reals below it. 1.8 million frames of 56,000 videos, drawn 1,000 times, take about 15 s on one core.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from brevitas_defakeq.evaluation.metrics import both_classes

SAMPLES = 1000
#: Frame weights held at a time: few enough for the processor's cache, many enough for small data sets.
_CELLS = 250_000
_INTERVAL = (0.025, 0.975)


def auc_interval(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    samples: int = SAMPLES,
    seed: int | Sequence[int] = 0,
) -> tuple[float, float]:
    """The AUC's 95 % bootstrap interval (low, high).

    Images, or whole groups (videos, [N]) where given, are drawn again with replacement, fake and real apart
    so that their numbers stay; `samples` times.
    """
    return interval(bootstrap_aucs(labels, [scores], groups=groups, samples=samples, seed=seed)[0])


def bootstrap_aucs(
    labels: ArrayLike,
    scorings: Sequence[ArrayLike],
    *,
    groups: ArrayLike | None = None,
    samples: int = SAMPLES,
    seed: int | Sequence[int] = 0,
) -> np.ndarray:
    """The AUC [len(scorings), samples] of each scoring [N], all of them on the same resamples.

    Equal labels, groups and seed give the same resamples, so what separate calls return is paired as well.
    """
    pairs = [both_classes(labels, scores) for scores in scorings]
    labels = pairs[0][0]
    groups = np.arange(len(labels), dtype=np.int32) if groups is None else np.asarray(groups)
    fakes, reals = _codes(groups[labels == 1]), _codes(groups[labels == 0])
    ranked = [_Ranked.of(labels, scores, fakes, reals) for _, scores in pairs]
    generator, rows = np.random.default_rng(seed), max(1, _CELLS // len(labels))
    found = np.empty((len(scorings), samples))
    for start in range(0, samples, rows):
        stop = min(start + rows, samples)
        drawn = [_times_drawn(codes.max() + 1, stop - start, generator) for codes in (fakes, reals)]
        for index, ranking in enumerate(ranked):
            found[index, start:stop] = ranking.aucs(*drawn)
    return found


def interval(values: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of bootstrapped values."""
    low, high = np.quantile(values, _INTERVAL)
    return float(low), float(high)


@dataclass(frozen=True)
class _Ranked:
    """Frames in the order of their scores.

    ``fakes`` [F] and ``reals`` [R]: the video of each; ``below`` and ``upto`` [F]: how many reals score below
    each fake, and at most as high.
    """

    fakes: np.ndarray
    reals: np.ndarray
    below: np.ndarray
    upto: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, scores: np.ndarray, fakes: np.ndarray, reals: np.ndarray) -> _Ranked:
        fake_scores, real_scores = scores[labels == 1], scores[labels == 0]
        fake_order, real_order = np.argsort(fake_scores), np.argsort(real_scores)
        fake_scores, real_scores = fake_scores[fake_order], real_scores[real_order]
        below, upto = (np.searchsorted(real_scores, fake_scores, side) for side in ("left", "right"))
        return cls(fakes[fake_order], reals[real_order], below, upto)

    def aucs(self, fakes_drawn: np.ndarray, reals_drawn: np.ndarray) -> np.ndarray:
        """The AUC [B] where each fake and each real video was drawn so many times, [B, videos]."""
        weights = np.zeros((len(reals_drawn), len(self.reals) + 1), dtype=np.int32)
        np.cumsum(reals_drawn.take(self.reals, axis=1), axis=1, dtype=np.int32, out=weights[:, 1:])
        twice_below = weights.take(self.below, axis=1) + weights.take(self.upto, axis=1)  # a tie is one half
        fakes = fakes_drawn.take(self.fakes, axis=1).astype(np.float64)
        return np.einsum("bf,bf->b", fakes, twice_below) / (2 * fakes.sum(axis=1) * weights[:, -1])


def _codes(groups: np.ndarray) -> np.ndarray:
    """The groups numbered from 0, [N]."""
    return np.unique(groups, return_inverse=True)[1].reshape(-1)


def _times_drawn(count: int, rows: int, generator: np.random.Generator) -> np.ndarray:
    """How often each of ``count`` videos is drawn in ``count`` draws, int32 [rows, count]."""
    drawn = generator.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
    return np.bincount(drawn.reshape(-1), minlength=rows * count).reshape(rows, count).astype(np.int32)
