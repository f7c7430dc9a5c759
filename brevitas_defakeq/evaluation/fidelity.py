"""How close a compressed detector is to its float original on the same images; needs no labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from brevitas_defakeq.evaluation.metrics import finite

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
) -> dict[str, float | None]:
    """`rank_correlation` of the scores [N] (Spearman, -1..1; 0 where all scores of one are equal),
    `verdict_agreement`, the share of equal verdicts, each by its own threshold, and `feature_snr_db`
    (None without ``noise``).
    """
    float_scores, other_scores = finite(float_scores, "float scores"), finite(other_scores, "other scores")
    agreement = np.mean((float_scores > float_threshold) == (other_scores > other_threshold))
    return {
        "rank_correlation": _rank_correlation(float_scores, other_scores),
        "verdict_agreement": float(agreement),
        "feature_snr_db": None if noise is None else noise.snr_db(),
    }


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    from scipy.stats import spearmanr

    if first.min() == first.max() or second.min() == second.max():
        return 0.0
    return float(spearmanr(first, second).statistic)
