"""The smallest budget whose loss of AUC, as far as the validation data can tell, is still allowed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from brevitas_defakeq.evaluation.frame_table import FrameTable
from brevitas_defakeq.evaluation.paired_auc import auc_drops, auc_estimates
from brevitas_defakeq.utils.errors import UserError


@dataclass(frozen=True)
class Trial:
    """One budget: its AUC, what it loses against float, the loss's paired 95 % interval over videos, and
    whether the upper end of that is still allowed.
    """

    average_bits: float
    auc: float
    drop: float
    drop_interval: tuple[float, float]
    allowed: bool


def smallest_budget(
    scores: Callable[[float], np.ndarray],
    budgets: Sequence[float],
    float_scores: np.ndarray,
    frames: FrameTable,
    max_drop: float,
    *,
    on_progress: Callable[[Trial], None] = lambda trial: None,
) -> tuple[float, list[Trial]]:
    """Bisection over ascending budgets; of 25 at most 5 are tried.

    Args:
        scores: called with a budget in bits a weight, gives that model's logits [N] on the validation data.
        float_scores: the float model's, [N]. ``frames``: labels and videos of the validation data.
        max_drop: the largest loss of AUC, 0 to 1, that the upper end of the interval may reach.
        on_progress: called after each trial.

    Returns:
        The budget, which was tried and is allowed, while the next smaller one that was tried is not; and all
        trials, in order. Where a larger budget never loses more, no smaller one of the list is allowed.

    Raises:
        UserError: not even the largest budget is allowed.
    """
    check_drop(max_drop)
    trials: list[Trial] = []
    refused, allowed = -1, len(budgets)
    while allowed - refused > 1:
        middle = (refused + allowed) // 2
        trials.append(_trial(budgets[middle], scores(budgets[middle]), float_scores, frames, max_drop))
        on_progress(trials[-1])
        refused, allowed = (refused, middle) if trials[-1].allowed else (middle, allowed)
    if allowed == len(budgets):
        last = trials[-1]
        raise UserError(
            f"max_auc_drop={max_drop:g}: even {last.average_bits:g} bits lose {last.drop:.4f}, by the 95 % "
            f"interval up to {last.drop_interval[1]:.4f}; allow more, or give more validation images"
        )
    return budgets[allowed], trials


def check_drop(max_drop: float) -> None:
    """Refuse what is no loss of AUC."""
    if not 0 <= max_drop < 1:
        raise UserError(f"max_auc_drop={max_drop:g}: give a loss of AUC from 0 to below 1, such as 0.01")


def _trial(
    budget: float, scores: np.ndarray, float_scores: np.ndarray, frames: FrameTable, max_drop: float
) -> Trial:
    scored = {"float": float_scores, "quantized": scores}
    estimates = auc_estimates(frames.labels, scored, groups=frames.videos)
    drop = auc_drops(estimates)["quantized"]
    low, high = drop.interval()
    return Trial(float(budget), estimates["quantized"].value, drop.value, (low, high), high <= max_drop)
