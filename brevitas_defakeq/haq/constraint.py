"""Budgets of an assignment of widths: average bits, or resources of a chip."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_SLACK = 1e-9


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """One budget: ``fixed + sum_l usage[l, b_l] <= limit``.

    Attributes:
        name: as the user gives it, such as "lut".
        usage: use by each option of each layer, [L, B], not negative.
        limit: the budget as the user gives it.
        fixed: use that does not depend on the options.
        per: units of ``usage`` in one of ``limit``: the number of weights for a limit on their average.
        unit: written after numbers in messages.
    """

    name: str
    usage: np.ndarray
    limit: float
    fixed: float = 0.0
    per: float = 1.0
    unit: str = ""

    @property
    def available(self) -> float:
        """Limit for the sum over the layers; a budget that is met up to rounding is met."""
        return self.limit * self.per * (1 + _SLACK) - self.fixed

    def layers_take(self, choice: np.ndarray) -> float:
        """``sum_l usage[l, choice[l]]``."""
        return float(self.usage[np.arange(len(choice)), choice].sum())

    def met(self, choice: np.ndarray) -> bool:
        return self.layers_take(choice) <= self.available

    def least(self, allowed: np.ndarray) -> float:
        """The smallest use by any allowed choice; ``allowed``: bool [L, B]."""
        return float(np.where(allowed, self.usage, np.inf).min(axis=1).sum())

    def budget_for(self, layers: float) -> str:
        """The budget, with its unit, that allows ``layers`` in sum over the layers."""
        return f"{np.ceil((self.fixed + layers) / self.per * 1000 - 1e-6) / 1000:.12g}{self.unit}"


def average_bits_of(
    sizes: Mapping[str, int], candidate_bits: Sequence[float], average_bits: float
) -> Constraint:
    """``sum_l b_l p_l <= average_bits sum_l p_l``, layers in the order of ``sizes``."""
    usage = np.asarray(list(sizes.values()), dtype=float)[:, None] * np.asarray(candidate_bits, dtype=float)
    total = float(sum(sizes.values()))
    return Constraint(
        name="average_bits", usage=usage, limit=average_bits, per=total, unit=" bits on average"
    )
