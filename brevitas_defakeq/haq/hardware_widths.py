"""Widths within a chip's budgets: the exact assignment under its costs, at the best frame rate."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from brevitas_defakeq.config import DefakeQConfig
from brevitas_defakeq.haq.constraint import average_bits_of
from brevitas_defakeq.haq.hardware_costs import CostTable, HardwareCosts
from brevitas_defakeq.haq.solver import assign
from brevitas_defakeq.utils.errors import UserError


def hardware_widths(
    costs: Mapping[str, Sequence[float]],
    sizes: Mapping[str, int],
    config: DefakeQConfig,
    hardware: HardwareCosts,
) -> dict[str, float]:
    """Widths of least total cost within ``config.budget``, and ``config.average_bits`` where it is given.

    Args:
        costs: per layer one cost for each candidate; ``inf`` excludes a candidate.
        sizes: p_l, weights of each layer.

    Raises:
        UserError: an impossible budget; names the smallest possible one.
    """
    cost = np.asarray([costs[name] for name in sizes], dtype=float)
    found, refused = [], []
    for table, in_time in _fast_enough(cost, list(sizes), config, hardware):
        rules = hardware.constraints(table, config.budget, list(sizes), config.candidate_bits)
        if config.average_bits is not None:
            rules.append(average_bits_of(sizes, config.candidate_bits, config.average_bits))
        try:
            choice = assign(in_time, rules)
        except UserError as error:
            refused.append(f"at {table.fps:g} frames a second, {error}")
            continue
        found.append((float(cost[np.arange(len(cost)), choice].sum()), choice))
    if not found:
        raise UserError(refused[0])
    _, choice = min(found, key=lambda one: one[0])
    return {name: float(config.candidate_bits[at]) for name, at in zip(sizes, choice, strict=True)}


def _fast_enough(
    cost: np.ndarray, names: Sequence[str], config: DefakeQConfig, hardware: HardwareCosts
) -> list[tuple[CostTable, np.ndarray]]:
    """The tables within the budget of cycles, slowest first, with ``inf`` for options that exceed it."""
    limit, fits, least = config.budget.get("cycles", np.inf), [], []
    for table in hardware.tables:
        cycles = hardware.usage(table, "cycles", names, config.candidate_bits)
        in_time = np.where(cycles <= limit, cost, np.inf)
        fastest = np.where(np.isfinite(cost), cycles, np.inf).min(axis=1)
        least.append(max(table.fixed["cycles"], float(fastest.max())))
        if least[-1] <= limit:
            fits.append((table, in_time))
    if not fits:
        raise UserError(
            f"cycles={limit:g}: the slowest part takes {min(least):g} cycles a frame at the fastest of these "
            "costs; raise the budget, or write costs at a higher --fps"
        )
    return fits


def uniform_hardware_width(sizes: Mapping[str, int], config: DefakeQConfig, hardware: HardwareCosts) -> float:
    """The largest candidate that fits for all layers but the pinned ones. Raises UserError if none does."""
    for width in reversed(config.candidate_bits):
        bits = {name: float(config.haq.pinned.get(name, width)) for name in sizes}
        if fitting_table(bits, sizes, config, hardware) is not None:
            return width
    totals = hardware.totals(hardware.tables[0], bits)
    needed = ", ".join(f"{name}={totals[name]:g}" for name in config.budget)
    raise UserError(f"a uniform {width:g} bits needs {needed}: raise the budget, or leave HAQ on")


def fitting_table(
    bits: Mapping[str, float], sizes: Mapping[str, int], config: DefakeQConfig, hardware: HardwareCosts
) -> CostTable | None:
    """The fastest rate at which these widths stay within all budgets."""
    total = sum(sizes.values())
    average = sum(bits[name] * size for name, size in sizes.items()) / total
    limits = {**config.budget, "average_bits": config.average_bits or np.inf}
    for table in reversed(hardware.tables):
        totals = {**hardware.totals(table, bits), "average_bits": average}
        if all(totals[name] <= limit * (1 + 1e-9) for name, limit in limits.items()):
            return table
    return None


def hardware_estimate(
    bits: Mapping[str, float], sizes: Mapping[str, int], config: DefakeQConfig, hardware: HardwareCosts
) -> dict[str, Any]:
    """Estimated use of the chip by widths that fit the budgets: ``hardware`` of a run's report."""
    table = fitting_table(bits, sizes, config, hardware)
    if table is None:
        raise ValueError("these widths exceed the budgets")
    return {
        "board": hardware.board, "fps": table.fps, "costs": hardware.digest,
        "estimated": hardware.totals(table, bits),
    }  # fmt: skip
