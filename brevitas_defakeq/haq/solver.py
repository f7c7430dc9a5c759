"""The exact assignment of eq. 5: one width a layer, least total cost, never above a budget.

If the best width of every layer fits, that is the answer. One budget is solved by the dynamic program of
``knapsack``, several by scipy's HiGHS, a branch and bound over 0/1 variables.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from brevitas_defakeq.haq.constraint import Constraint, average_bits_of
from brevitas_defakeq.haq.knapsack import cheapest
from brevitas_defakeq.utils.errors import UserError


def monotone(costs: Sequence[float]) -> list[float]:
    """Costs by ascending width made non-increasing, by raising those of narrower widths.

    Measured errors sometimes rise with the width by chance.

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
    budget = average_bits_of({name: sizes[name] for name in names}, candidate_bits, average_bits)
    choice = assign(np.asarray([costs[name] for name in names], dtype=float), [budget])
    return {name: float(candidate_bits[option]) for name, option in zip(names, choice, strict=True)}


def assign(cost: np.ndarray, constraints: Sequence[Constraint]) -> np.ndarray:
    """The options, int [L], that minimize ``sum_l cost[l, b_l]`` within all constraints.

    Args:
        cost: [L, B], ``inf`` where an option is not allowed; every layer has one that is.

    Raises:
        UserError: nothing fits; names the smallest budget that can be met.
    """
    choice = _find(cost, constraints)
    if choice is None:
        raise _refusal(np.isfinite(cost), constraints)
    return choice


def _find(cost: np.ndarray, constraints: Sequence[Constraint]) -> np.ndarray | None:
    allowed = np.isfinite(cost)
    if any(rule.least(allowed) > rule.available for rule in constraints):
        return None
    best = cost.argmin(axis=1)
    if all(rule.met(best) for rule in constraints):
        return best
    if len(constraints) == 1:
        return cheapest(cost, constraints[0].usage, constraints[0].available)
    return _branch_and_bound(cost, constraints, [rule.available for rule in constraints])


def _branch_and_bound(
    cost: np.ndarray, constraints: Sequence[Constraint], limits: Sequence[float]
) -> np.ndarray | None:
    """Rows are scaled by their limit, costs by the dearest choice, because HiGHS' tolerances are absolute."""
    finite = np.isfinite(cost)
    fitting = [_fits(rule.usage, finite, limit) for rule, limit in zip(constraints, limits, strict=True)]
    allowed = finite & np.all(fitting, axis=0)
    if not allowed.any(axis=1).all():
        return None
    above = np.where(allowed, cost - np.where(allowed, cost, np.inf).min(axis=1, keepdims=True), 0.0)
    scale = 1e6 / max(float(above.max(axis=1).sum()), 1e-300)
    units = np.maximum(limits, 1e-300)
    rows = np.array([np.where(allowed, rule.usage, 0.0).ravel() for rule in constraints]) / units[:, None]
    one_each = np.kron(np.eye(len(cost)), np.ones(cost.shape[1]))
    solved = milp(
        (above * scale).ravel(), integrality=np.ones(cost.size), bounds=Bounds(0, allowed.ravel()),
        constraints=[LinearConstraint(one_each, 1, 1), LinearConstraint(rows, ub=np.asarray(limits) / units)],
        options={"mip_rel_gap": 0.0},
    )  # fmt: skip
    if solved.x is None:
        return None
    choice = solved.x.reshape(cost.shape).argmax(axis=1)
    excess = [rule.layers_take(choice) - rule.available for rule in constraints]
    if max(excess) <= 0:
        return choice
    # HiGHS lets a row be exceeded by a millionth; a budget is never exceeded.
    tighter = [limit - 2 * max(0.0, over) for limit, over in zip(limits, excess, strict=True)]
    return _branch_and_bound(cost, constraints, tighter)


def _fits(usage: np.ndarray, allowed: np.ndarray, limit: float) -> np.ndarray:
    """Which options fit beside the smallest of all other layers, bool [L, B]."""
    smallest = np.where(allowed, usage, np.inf).min(axis=1, keepdims=True)
    return usage - smallest <= limit - smallest.sum()


def _refusal(allowed: np.ndarray, constraints: Sequence[Constraint]) -> UserError:
    """Names the smallest possible budget; the first one's, where only all budgets together are impossible."""
    for rule in constraints:
        least = rule.least(allowed)
        if least > rule.available:
            part = f" ({rule.fixed:,.0f} of it whatever the widths)" if rule.fixed else ""
            return UserError(
                f"{rule.name}={rule.limit:g}: the pinned and smallest widths already need "
                f"{rule.budget_for(least)}{part}; raise the budget, unpin a layer or add a smaller candidate"
            )
    first, *others = constraints
    choice = _find(np.where(allowed, first.usage, np.inf), others)
    if choice is None:
        return _refusal(allowed, others)
    kept = " and ".join(f"{rule.name}={rule.limit:g}" for rule in others)
    return UserError(
        f"{first.name}={first.limit:g} cannot be met together with {kept}, which needs at least "
        f"{first.budget_for(first.layers_take(choice))}; raise one of the budgets"
    )
