"""The exact ROC curve as counts, sorted once: what AUC, EER, AP and the rates are read from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from brevitas_defakeq.evaluation.checked import both_classes


@dataclass(frozen=True)
class Curve:
    """How many images are called fake as the threshold falls past one distinct score after another.

    ``false_positives`` and ``true_positives`` [K + 1] are whole numbers, from none to all; images of equal
    score come in together, so ties are exact.
    """

    false_positives: np.ndarray
    true_positives: np.ndarray

    @classmethod
    def of(cls, labels: ArrayLike, scores: ArrayLike) -> Curve:
        """The curve of labels [N] (0 real, 1 fake) and scores [N]; UserError for one class or no numbers."""
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
        """The area under the precision-recall curve, stepwise, fake being the class that is looked for."""
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
