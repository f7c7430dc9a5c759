"""How well scores tell fake from real.

Everywhere: labels [N] of 0 (real) and 1 (fake), scores [N], higher is more fake; ranks need no scale, and
logits are better than probabilities, which tie near 0 and 1. Labels of one class, or scores that are not
finite, raise UserError.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from brevitas_defakeq.evaluation.checked import both_classes, checked
from brevitas_defakeq.evaluation.curve import Curve

#: Equal-width bins of P(fake) for the calibration error.
CALIBRATION_BINS = 15


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """The area under the ROC curve: how often a fake image scores above a real one, ties counting one half.

    >>> auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    return Curve.of(labels, scores).auc()


def eer(labels: ArrayLike, scores: ArrayLike) -> float:
    """The rate at which reals are called fake as often as fakes real, interpolated linearly."""
    return Curve.of(labels, scores).eer()


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """The area under the precision-recall curve, stepwise, fake being the class that is looked for."""
    return Curve.of(labels, scores).average_precision()


def accuracy(labels: ArrayLike, scores: ArrayLike, threshold: float = 0.0) -> float:
    """The share of right verdicts, fake being a score above the threshold. One class will do."""
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
