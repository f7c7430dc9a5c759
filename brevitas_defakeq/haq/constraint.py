"""What an assignment of widths may take: average bits, or what a chip has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_SLACK = 1e-9


@dataclass(frozen=True)
class Constraint:
    """``fixed + sum_l usage[l, b_l] <= limit``: a thing of which there is only so much.

    Attributes:
        name: as the user gives it, such as "lut".
        usage: what each option of a layer takes, [L, B], not negative.
        limit: the budget as the user gives it.
        fixed: what is taken whatever the options.
        per: of ``usage`` in one of ``limit``: all weights, where the limit is an average over them.
        unit: behind the figures of a message.
    """

    name: str
    usage: np.ndarray
    limit: float
    fixed: float = 0.0
    per: float = 1.0
    unit: str = ""

    @property
    def room(self) -> float:
        """What the layers may take together; a budget met to rounding is met."""
        return self.limit * self.per * (1 + _SLACK) - self.fixed

    def layers_take(self, choice: np.ndarray) -> float:
        """``sum_l usage[l, choice[l]]``."""
        return float(self.usage[np.arange(len(choice)), choice].sum())

    def met(self, choice: np.ndarray) -> bool:
        return self.layers_take(choice) <= self.room

    def least(self, allowed: np.ndarray) -> float:
        """The least that the layers take by any allowed choice; ``allowed``: bool [L, B]."""
        return float(np.where(allowed, self.usage, np.inf).min(axis=1).sum())

    def figure(self, layers: float) -> str:
        """The whole that goes with what the layers take, as the user would have to give it."""
        return f"{np.ceil((self.fixed + layers) / self.per * 1000 - 1e-6) / 1000:.12g}{self.unit}"


def average_bits_of(
    sizes: Mapping[str, int], candidate_bits: Sequence[float], average_bits: float
) -> Constraint:
    """``sum_l b_l p_l <= average_bits sum_l p_l``, layers in the order of ``sizes``."""
    usage = np.asarray(list(sizes.values()), dtype=float)[:, None] * np.asarray(candidate_bits, dtype=float)
    total = float(sum(sizes.values()))
    return Constraint("average_bits", usage, average_bits, per=total, unit=" bits on average")
