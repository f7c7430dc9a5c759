"""How close a compressed detector is to its float original on the same images; needs no labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from brevitas_defakeq.evaluation.expected_flips import expected_flips
from brevitas_defakeq.evaluation.metrics import finite, probabilities
from brevitas_defakeq.runtime.flips import Flips

#: A copy without any error would be infinitely close, which JSON cannot say.
_HIGHEST_SNR_DB = 200.0


@dataclass
class FeatureNoise:
    """Power of the float features and of the difference from them, added up batch by batch."""

    signal: float = 0.0
    noise: float = 0.0

    def add(self, reference: np.ndarray, other: np.ndarray) -> None:
        """Features of the same images, [N, C] each."""
        reference, other = np.asarray(reference, np.float64), np.asarray(other, np.float64)
        self.signal += float(np.square(reference).sum())
        self.noise += float(np.square(reference - other).sum())

    def snr_db(self) -> float:
        """10 log10 of the signal's power over the noise's, between -200 and 200."""
        if self.signal == 0:
            return _HIGHEST_SNR_DB if self.noise == 0 else -_HIGHEST_SNR_DB
        floor = self.signal * 10 ** (-_HIGHEST_SNR_DB / 10)
        return float(10 * np.log10(self.signal / max(self.noise, floor)))


def fidelity(
    float_scores: ArrayLike,
    other_scores: ArrayLike,
    noise: FeatureNoise | None = None,
    float_threshold: float = 0.0,
    other_threshold: float = 0.0,
) -> dict[str, Any]:
    """How the fake logits [N] of a compressed detector differ from the float one's, ready for JSON.

    Returns:
        ``rank_correlation`` (Spearman, -1..1; 0 where all scores of one are equal); ``verdict_agreement``,
        the share of equal verdicts, each by its own threshold; ``feature_snr_db`` (None without ``noise``);
        ``flips`` of `count_flips` and ``expected_flips`` of `expected_flips`, both by the float threshold;
        ``largest_probability_change``, the maximum over the images of ``|P(fake) - float P(fake)|``, 0..1.
    """
    float_scores, other_scores = finite(float_scores, "float scores"), finite(other_scores, "other scores")
    agreement = np.mean((float_scores > float_threshold) == (other_scores > other_threshold))
    changes = np.abs(probabilities(other_scores) - probabilities(float_scores))
    return {
        "rank_correlation": _rank_correlation(float_scores, other_scores),
        "verdict_agreement": float(agreement),
        "feature_snr_db": None if noise is None else noise.snr_db(),
        "flips": count_flips(float_scores, other_scores, float_threshold).to_json(),
        "expected_flips": expected_flips(float_scores, other_scores, float_threshold).to_json(),
        "largest_probability_change": float(changes.max()),
    }


def count_flips(float_scores: np.ndarray, other_scores: np.ndarray, threshold: float = 0.0) -> Flips:
    """Images whose verdict changes at the threshold that the float detector has: scores [N] of both.

    The interval is Wilson's for a share of independent images (Wilson 1927), 95 %.
    """
    from scipy.stats import binomtest

    count, n = int(np.sum((float_scores > threshold) != (other_scores > threshold))), len(float_scores)
    low, high = binomtest(count, n).proportion_ci(method="wilson")
    interval = float(low), float(high)
    return Flips(count=count, n=n, share=count / n, interval=interval, threshold=float(threshold))


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    from scipy.stats import spearmanr

    if first.min() == first.max() or second.min() == second.max():
        return 0.0
    return float(spearmanr(first, second).statistic)
