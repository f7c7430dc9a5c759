"""AUCs of several variants on the same images, whose differences are paired: drawn on the same videos."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from brevitas_defakeq.evaluation.bootstrap import bootstrap_aucs, interval
from brevitas_defakeq.evaluation.metrics import auc

#: Variant of a detector -> one score a frame (or video), [N].
Scores = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class AucEstimate:
    """An AUC, or a difference or mean of AUCs, and its bootstrapped values [B].

    Estimates on the same labels, groups and seed are paired: equal indices of ``draws`` are one resample.
    """

    value: float
    draws: np.ndarray

    def __sub__(self, other: AucEstimate) -> AucEstimate:
        return AucEstimate(self.value - other.value, self.draws - other.draws)

    @classmethod
    def mean(cls, estimates: Iterable[AucEstimate]) -> AucEstimate:
        """The mean of paired estimates, or of independent ones."""
        every = list(estimates)
        draws = np.mean([each.draws for each in every], axis=0)
        return cls(float(np.mean([each.value for each in every])), draws)

    def interval(self) -> tuple[float, float]:
        """The 95 % bootstrap interval (low, high)."""
        return interval(self.draws)

    def to_dict(self, key: str = "auc") -> dict[str, float | list[float]]:
        """For JSON: the value under ``key``, its interval under ``<key>_interval``."""
        return {key: self.value, f"{key}_interval": list(self.interval())}


#: Variant -> its AUC; all paired.
Estimates = Mapping[str, AucEstimate]


def auc_estimates(
    labels: np.ndarray, scores: Scores, *, groups: np.ndarray | None, seed: int | Sequence[int] = 0
) -> dict[str, AucEstimate]:
    """The AUC of every variant; whole groups (videos, [N]) are drawn again, or single images for None."""
    draws = bootstrap_aucs(labels, list(scores.values()), groups=groups, seed=seed)
    return {
        variant: AucEstimate(auc(labels, values), drawn)
        for (variant, values), drawn in zip(scores.items(), draws, strict=True)
    }


def mean_estimates(every: Sequence[Estimates]) -> dict[str, AucEstimate]:
    """Variant by variant the mean of several."""
    return {variant: AucEstimate.mean(each[variant] for each in every) for variant in every[0]}


def auc_drops(estimates: Estimates) -> dict[str, AucEstimate]:
    """AUC("float") - AUC(variant) of every other variant; nothing where "float" is missing."""
    if "float" not in estimates:
        return {}
    reference = estimates["float"]
    return {variant: reference - own for variant, own in estimates.items() if variant != "float"}
