"""How well scores separate fake from real.

Everywhere: labels [N] of 0 (real) and 1 (fake), scores [N], higher is more fake; ranks need no scale, and
logits are better than probabilities, which tie near 0 and 1. Labels of one class, or scores that are not
finite, raise UserError.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from brevitas_defakeq.utils.errors import UserError

#: Equal-width bins of P(fake) for the calibration error.
CALIBRATION_BINS = 15


def finite(scores: ArrayLike, what: str = "scores") -> np.ndarray:
    """Scores as doubles [N]; raises UserError if there are none or any is not finite."""
    scores = np.asarray(scores, dtype=np.float64).reshape(-1)
    broken = int(np.count_nonzero(~np.isfinite(scores)))
    if broken or not len(scores):
        raise UserError(f"{broken} of {len(scores)} {what} are not finite; a detector must score every image")
    return scores


def checked(labels: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Labels as int8 and scores as doubles, both [N]; raises UserError where they do not fit each other."""
    labels, scores = np.asarray(labels).reshape(-1), finite(scores)
    if len(labels) != len(scores):
        raise UserError(f"{len(labels)} labels and {len(scores)} scores: give one of each for every image")
    if not ((labels == 0) | (labels == 1)).all():
        raise UserError("labels must be 0 (real) or 1 (fake) for every image; give labelled data")
    return labels.astype(np.int8), scores


def both_classes(labels: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """`checked`; raises UserError where all images are real or all are fake."""
    labels, scores = checked(labels, scores)
    if labels.min() == labels.max():
        only = "fake" if labels[0] else "real"
        raise UserError(
            f"all {len(labels)} images are {only}; an AUC needs real and fake ones, so add the others"
        )
    return labels, scores


@dataclass(frozen=True)
class Curve:
    """The exact ROC curve: how many images are called fake as the threshold falls past each distinct score.

    ``false_positives`` and ``true_positives`` [K + 1] are whole numbers, from none to all; images of equal
    score come in together, so ties are exact.
    """

    false_positives: np.ndarray
    true_positives: np.ndarray

    @classmethod
    def of(cls, labels: ArrayLike, scores: ArrayLike) -> Curve:
        """The curve of labels [N] (0 real, 1 fake) and scores [N]; they are sorted once."""
        labels, scores = both_classes(labels, scores)
        order = np.argsort(scores)[::-1]
        fakes = np.cumsum(labels[order], dtype=np.int64)
        scores = scores[order]
        last = np.append(np.flatnonzero(scores[1:] != scores[:-1]), len(scores) - 1)  # of each distinct score
        true_positives = np.append(0, fakes[last])
        return cls(np.append(0, last + 1) - true_positives, true_positives)

    @property
    def false_positive_rate(self) -> np.ndarray:
        return self.false_positives / self.false_positives[-1]

    @property
    def true_positive_rate(self) -> np.ndarray:
        return self.true_positives / self.true_positives[-1]

    def auc(self) -> float:
        """The area, from whole numbers: a fake above a real counts 1, a tie one half."""
        pairs = self.false_positives[-1] * self.true_positives[-1]
        twice = np.diff(self.false_positives) @ (self.true_positives[1:] + self.true_positives[:-1])
        return float(twice / 2 / pairs)

    def eer(self) -> float:
        """The rate at which reals are called fake as often as fakes real, interpolated linearly."""
        rate = self.false_positive_rate
        gap = (1 - self.true_positive_rate) - rate  # falls from 1 to -1
        after = int(np.argmax(gap <= 0))
        step = gap[after - 1] / (gap[after - 1] - gap[after])
        return float(rate[after - 1] + step * (rate[after] - rate[after - 1]))

    def average_precision(self) -> float:
        """The area under the precision-recall curve, stepwise; fake is the positive class."""
        called = self.true_positives[1:] + self.false_positives[1:]
        return float(np.diff(self.true_positive_rate) @ (self.true_positives[1:] / called))

    def tpr_at(self, rate: float) -> float:
        """The share of fakes found at the lowest threshold that calls at most ``rate`` of the reals fake."""
        last = np.searchsorted(self.false_positive_rate, rate, side="right") - 1
        return float(self.true_positive_rate[last])

    def distinct(self) -> int:
        """How many distinct scores there are."""
        return len(self.true_positives) - 1

    def tied_share(self) -> float:
        """The share of images whose score another image has too."""
        sizes = np.diff(self.true_positives + self.false_positives)
        return float(sizes[sizes > 1].sum() / sizes.sum())


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """The area under the ROC curve: how often a fake image scores above a real one, ties counting one half.

    >>> auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    return Curve.of(labels, scores).auc()


def accuracy(labels: ArrayLike, scores: ArrayLike, threshold: float = 0.0) -> float:
    """The share of right verdicts; a score above the threshold means fake. One class will do."""
    labels, scores = checked(labels, scores)
    return float(np.mean((scores > threshold) == (labels == 1)))


def balanced_accuracy(labels: ArrayLike, scores: ArrayLike, threshold: float = 0.0) -> float:
    """The mean of the share of fakes and the share of reals that get the right verdict."""
    labels, scores = both_classes(labels, scores)
    called = scores > threshold
    return float((called[labels == 1].mean() + (~called[labels == 0]).mean()) / 2)


def calibration_error(labels: ArrayLike, logits: ArrayLike) -> float:
    """The expected calibration error (ECE) of P(fake) = sigmoid(logit).

    Images fall into 15 bins of equal width, [k/15, (k+1)/15), the last one closed; the error is
    ``sum_b n_b / N |share of fakes in b - mean P(fake) in b|``.
    """
    labels, logits = checked(labels, logits)
    shares = probabilities(logits)
    bins = np.minimum((shares * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    surplus = np.bincount(bins, labels - shares, minlength=CALIBRATION_BINS)
    return float(np.abs(surplus).sum() / len(labels))


def probabilities(logits: ArrayLike) -> np.ndarray:
    """P(fake) = 1 / (1 + exp(-logit)) as doubles, without overflow."""
    return 0.5 + 0.5 * np.tanh(0.5 * np.asarray(logits, dtype=np.float64))


def carry_threshold(
    float_scores: ArrayLike, quantized_scores: ArrayLike, float_threshold: float = 0.0
) -> float:
    """The threshold on quantized scores that as many images exceed as exceed the float threshold.

    Give the scores of the real images alone where labels are known: then the false-positive rate is what
    stays. All scores between two neighbours give that rate; of these the one nearest to the float threshold
    is taken, so a close copy keeps the threshold itself.
    """
    old = np.sort(finite(float_scores, "float scores"))
    new = np.sort(finite(quantized_scores, "quantized scores"))
    if len(old) != len(new):
        raise UserError(
            f"{len(old)} float scores and {len(new)} quantized ones: give both for the same images"
        )
    below = int(np.searchsorted(old, float_threshold, side="right"))
    lowest = new[below - 1] if below else -np.inf
    highest = np.nextafter(new[below], -np.inf) if below < len(new) else np.inf
    return float(min(max(float_threshold, lowest), highest))
