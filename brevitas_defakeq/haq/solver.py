"""The exact assignment of eq. 5: one width a layer, least total cost, never above the budget.

Dynamic programming over the layers that keeps only undominated (size, cost) states, pruned by a bound:
a state whose cost plus the Lagrangian bound of the layers still to come exceeds a known solution is
dropped. Exact for any sizes (no grid), a fraction of a second for hundreds of layers.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from brevitas_defakeq.errors import UserError

_SLACK = 1e-9


def monotone(costs: Sequence[float]) -> list[float]:
    """Costs by ascending width made non-increasing: a running minimum from the narrow end's view.

    Measured errors now and then rise with the width by luck; a wider layer is never charged more than
    a narrower one.

    >>> monotone([8.0, 4.0, 4.5, 1.0])
    [8.0, 4.5, 4.5, 1.0]
    """
    return np.maximum.accumulate(np.asarray(costs, dtype=float)[::-1])[::-1].tolist()


def solve(
    costs: Mapping[str, Sequence[float]],
    sizes: Mapping[str, int],
    candidate_bits: Sequence[float],
    average_bits: float,
) -> dict[str, float]:
    """Widths that minimize ``sum_l costs[l][b_l]`` with ``sum_l b_l p_l <= average_bits sum_l p_l``.

    Args:
        costs: per layer one cost for each candidate, ascending widths, non-increasing (``monotone``).
        sizes: p_l, weights of each layer.
        candidate_bits: B, ascending; one set for all layers. A pinned layer has ``inf`` elsewhere.
        average_bits: B_avg.

    Raises:
        UserError: even the cheapest allowed widths exceed the budget.
    """
    names = list(costs)
    widths = np.asarray(candidate_bits, dtype=float)
    cost = np.asarray([costs[name] for name in names], dtype=float)  # [L, B]
    size = np.asarray([sizes[name] for name in names], dtype=float)[:, None] * widths  # [L, B] bits
    budget = average_bits * float(sum(sizes[name] for name in names)) * (1 + _SLACK)
    allowed = np.isfinite(cost)
    smallest = np.where(allowed, size, np.inf).min(axis=1)
    if smallest.sum() > budget:
        least = smallest.sum() / sum(sizes.values())
        raise UserError(
            f"average_bits={average_bits}: the pinned and smallest widths already need {least:.3f} bits on "
            "average; raise the budget, unpin a layer or add a smaller candidate"
        )
    order = np.argsort(-size[:, -1], kind="stable")
    choice = _search(cost[order], size[order], smallest[order], budget)
    widths_of = {names[index]: float(widths[choice[rank]]) for rank, index in enumerate(order)}
    return {name: widths_of[name] for name in names}


def _search(cost: np.ndarray, size: np.ndarray, smallest: np.ndarray, budget: float) -> list[int]:
    multiplier, known = _lagrangian(cost, size, budget)
    reduced = np.where(np.isfinite(cost), cost + multiplier * size, np.inf).min(axis=1)
    later_bound = np.append(np.cumsum(reduced[::-1])[::-1], 0.0)[1:]
    later_size = np.append(np.cumsum(smallest[::-1])[::-1], 0.0)[1:]
    spent, paid = np.zeros(1), np.zeros(1)
    history: list[tuple[np.ndarray, np.ndarray]] = []
    for layer in range(len(cost)):
        options = np.flatnonzero(np.isfinite(cost[layer]))
        new_spent = (spent[:, None] + size[layer, options]).ravel()
        new_paid = (paid[:, None] + cost[layer, options]).ravel()
        origin = np.repeat(np.arange(len(spent)), len(options))
        taken = np.tile(options, len(spent))
        bound = new_paid + later_bound[layer] - multiplier * (budget - new_spent)
        keep = (new_spent + later_size[layer] <= budget) & (bound <= known + abs(known) * 1e-9 + 1e-300)
        keep = np.flatnonzero(keep)
        keep = keep[np.lexsort((new_paid[keep], new_spent[keep]))]
        best_before = np.minimum.accumulate(new_paid[keep])
        keep = keep[np.append(True, new_paid[keep][1:] < best_before[:-1])]
        spent, paid = new_spent[keep], new_paid[keep]
        history.append((origin[keep], taken[keep]))
    state = int(np.argmin(paid))
    choice = []
    for origin, taken in reversed(history):
        choice.append(int(taken[state]))
        state = int(origin[state])
    return choice[::-1]


def _lagrangian(cost: np.ndarray, size: np.ndarray, budget: float) -> tuple[float, float]:
    """A multiplier that all but meets the budget, and the cost of a feasible solution found with it."""
    rows = np.arange(len(cost))

    def pick(multiplier: float) -> np.ndarray:
        priced = np.where(np.isfinite(cost), cost + multiplier * size, np.inf)
        return priced.argmin(axis=1)

    if size[rows, pick(0.0)].sum() <= budget:
        return 0.0, float(cost[rows, pick(0.0)].sum())
    finite = cost[np.isfinite(cost)]
    widest, step = float(finite.max() - finite.min()), float(np.diff(np.unique(size)).min())
    # Twice what makes any step in size dearer than any cost, so that the smallest widths surely win.
    low, high = 0.0, 2 * max(widest, 1e-300) / max(step, 1e-12)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (low, middle) if size[rows, pick(middle)].sum() <= budget else (middle, high)
    choice = pick(high)
    return high, _fill(cost, size, budget, choice)


def _fill(cost: np.ndarray, size: np.ndarray, budget: float, choice: np.ndarray) -> float:
    """Spend what a Lagrangian choice leaves over, best gain per bit first; returns the cost."""
    rows = np.arange(len(cost))
    while True:
        room = budget - size[rows, choice].sum()
        extra = size - size[rows, choice][:, None]
        gain = cost[rows, choice][:, None] - cost
        fits = (extra > 0) & (extra <= room) & (gain > 0) & np.isfinite(cost)
        if not fits.any():
            return float(cost[rows, choice].sum())
        rate = np.where(fits, gain / np.where(extra > 0, extra, 1.0), -np.inf)
        layer, option = np.unravel_index(int(rate.argmax()), rate.shape)
        choice[layer] = option
