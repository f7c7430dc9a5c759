"""One budget, exactly: dynamic programming over the layers that keeps only undominated (size, cost) states.

It is pruned by a bound: a state whose cost plus the Lagrangian bound of the layers still to come exceeds a
known solution is dropped. Exact for any sizes (no grid), a fraction of a second for hundreds of layers.
"""

import numpy as np


def cheapest(cost: np.ndarray, size: np.ndarray, budget: float) -> np.ndarray:
    """One option a row: the least total cost whose total size is at most ``budget``.

    Args:
        cost: [L, B]; ``inf`` excludes an option.
        size: [L, B], in any order along a row. At least one choice fits.
        budget: limit for the total size.

    Returns:
        The options, int [L].
    """
    order = np.argsort(-np.where(np.isfinite(cost), size, 0.0).max(axis=1), kind="stable")
    choice = np.empty(len(cost), dtype=int)
    choice[order] = _search(cost[order], size[order], budget)
    return choice


def _search(cost: np.ndarray, size: np.ndarray, budget: float) -> list[int]:
    smallest = np.where(np.isfinite(cost), size, np.inf).min(axis=1)
    multiplier, known = _lagrangian(cost, size, budget)
    reduced = np.where(np.isfinite(cost), cost + multiplier * size, np.inf).min(axis=1)
    later_bound = np.append(np.cumsum(reduced[::-1])[::-1], 0.0)[1:]
    later_size = np.append(np.cumsum(smallest[::-1])[::-1], 0.0)[1:]
    tolerance = abs(known) * 1e-9 + multiplier * abs(budget) * 1e-12 + 1e-300
    spent, paid = np.zeros(1), np.zeros(1)
    history: list[tuple[np.ndarray, np.ndarray]] = []
    for layer in range(len(cost)):
        options = np.flatnonzero(np.isfinite(cost[layer]))
        new_spent = (spent[:, None] + size[layer, options]).ravel()
        new_paid = (paid[:, None] + cost[layer, options]).ravel()
        origin = np.repeat(np.arange(len(spent)), len(options))
        taken = np.tile(options, len(spent))
        bound = new_paid + later_bound[layer] - multiplier * (budget - new_spent)
        keep = (new_spent + later_size[layer] <= budget) & (bound <= known + tolerance)
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
    """The multiplier that just meets the budget, and the cost of a feasible solution found with it."""
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
    """Spend the rest of the budget, best gain per size first; returns the cost."""
    rows = np.arange(len(cost))
    while True:
        left = budget - size[rows, choice].sum()
        extra = size - size[rows, choice][:, None]
        gain = cost[rows, choice][:, None] - cost
        fits = (extra > 0) & (extra <= left) & (gain > 0) & np.isfinite(cost)
        if not fits.any():
            return float(cost[rows, choice].sum())
        rate = np.where(fits, gain / np.where(extra > 0, extra, 1.0), -np.inf)
        layer, option = np.unravel_index(int(rate.argmax()), rate.shape)
        choice[layer] = option
