"""Mean-squared-error search of scale and zero point.

Stock Brevitas searches the scale and the zero point one after the other, each from min-max and at the
width the quantizer was built with; MSE initialised at 8 bits and then lowered equals min-max. Here both
are searched together, on the very integers that are stored, as often as the width changes.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

#: Fractions of the min-max range that are tried.
SHRINKS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.45, 0.4, 0.35, 0.3)
#: Elements searched at a time, so that they stay in a core's cache: about 150 passes go over them.
_PIECE = 262_144
#: No scale is smaller: what a row of zeros gets.
SMALLEST_SCALE = 1e-10


def _squared_error(rows: Tensor, codes: Tensor, scale: Tensor, zero: Tensor, weight: Tensor | None) -> Tensor:
    error = (rows - scale * (codes - zero)).square_()
    return (error if weight is None else error * weight).sum(dim=1, keepdim=True)


def _fit_scale(rows: Tensor, centred: Tensor, scale: Tensor, weight: Tensor | None) -> Tensor:
    """Least-squares scale for given codes: ``<w, c> / <c, c>``, where it is positive."""
    weighted = centred if weight is None else centred * weight
    norm = (weighted * centred).sum(dim=1, keepdim=True)
    fitted = (weighted * rows).sum(dim=1, keepdim=True) / norm.clamp_min(SMALLEST_SCALE)
    return torch.where((norm > 0) & (fitted > SMALLEST_SCALE), fitted, scale)


def search_rows(
    rows: Tensor, levels: int, *, symmetric: bool = False, weight: Tensor | None = None, refits: int = 2
) -> tuple[Tensor, Tensor]:
    """Scale and integer zero point of each row with the least (weighted) squared rounding error.

    Args:
        rows: values to represent, [C, K].
        levels: number of codes, 3 to 65536. Codes are ``0..levels-1``, or ``-n..n`` when symmetric.
        symmetric: zero point 0, codes symmetric around it.
        weight: non-negative importance of each value's error, broadcastable to [C, K].
        refits: alternations of "round, then least-squares scale" tried after each shrink.

    Returns:
        scale [C, 1] (positive) and zero point [C, 1] (integers as floats).
    """
    at_once = max(1, _PIECE // max(1, rows.shape[1]))
    if len(rows) > at_once:
        own: Sequence[Tensor | None]
        own = [None] * len(rows) if weight is None else weight.expand_as(rows).split(at_once)
        found = [
            search_rows(part, levels, symmetric=symmetric, weight=importance, refits=refits)
            for part, importance in zip(rows.split(at_once), own, strict=False)
        ]
        return torch.cat([scale for scale, _ in found]), torch.cat([zero for _, zero in found])
    low = rows.amin(dim=1, keepdim=True).clamp_max(0.0)
    high = rows.amax(dim=1, keepdim=True).clamp_min(0.0)
    half = (levels - 1) // 2
    lowest, highest = (-half, half) if symmetric else (0, levels - 1)
    best_error = torch.full_like(low, float("inf"))
    best_scale, best_zero = torch.ones_like(low), torch.zeros_like(low)
    for shrink in SHRINKS:
        if symmetric:
            scale = (torch.maximum(-low, high) * shrink / half).clamp_min(SMALLEST_SCALE)
            zeros = [torch.zeros_like(scale)]
        else:
            scale = ((high - low) * shrink / highest).clamp_min(SMALLEST_SCALE)
            middle = (-low * shrink / scale).round().clamp(lowest, highest)
            zeros = [(middle + step).clamp(lowest, highest) for step in (-1, 0, 1)]
        for zero in zeros:
            fitted = scale
            for _ in range(refits + 1):
                codes = (rows / fitted + zero).round_().clamp_(lowest, highest)
                error = _squared_error(rows, codes, fitted, zero, weight)
                better = error < best_error
                best_error = torch.where(better, error, best_error)
                best_scale = torch.where(better, fitted, best_scale)
                best_zero = torch.where(better, zero, best_zero)
                fitted = _fit_scale(rows, codes - zero, fitted, weight)
    return best_scale, best_zero


def search_step(samples: Sequence[tuple[Tensor, int, int]]) -> float:
    """The step with the least squared error for activations that have it in common, zero point 0.

    Args:
        samples: of each activation, its values [K] and its lowest and highest code.
    """
    widest = SMALLEST_SCALE
    for values, lowest, highest in samples:
        below = float(values.min()) / lowest if lowest else 0.0
        widest = max(widest, float(values.max()) / highest, below)

    def error(fraction: float) -> float:
        step = widest * fraction
        return sum(
            float(((values / step).round_().clamp_(lowest, highest) * step - values).square_().mean())
            for values, lowest, highest in samples
        )

    return widest * _best_shrink(error)


def search_interval(values: Tensor, levels: int) -> tuple[float, float]:
    """Clipping range ``(low, high)`` of a whole tensor with the least squared error.

    Each end shrinks on its own, in turn: a one-sided tail (GELU, SiLU) costs the other side nothing.

    Args:
        values: a sample of the activation, [K].
        levels: number of codes.
    """
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if high - low < SMALLEST_SCALE:
        return low, low + 1e-6
    for _ in range(2):
        high *= _best_shrink(partial(_high_error, values, low, high, levels))
        low *= _best_shrink(partial(_low_error, values, low, high, levels))
    return low, high


def _best_shrink(error: Callable[[float], float]) -> float:
    """The fraction in (0.05, 1] with the least error: steps of 6 %, then of 1 % around the best.

    The fine steps matter for images: on a range of just [-1, 1] every 8-bit value is a tie between two codes.
    """
    coarse = min((0.94**step for step in range(48)), key=error)
    return min((min(1.0, coarse * (1 + 0.01 * step)) for step in range(-5, 6)), key=error)


def _high_error(values: Tensor, low: float, high: float, levels: int, fraction: float) -> float:
    return _interval_error(values, low, high * fraction, levels)


def _low_error(values: Tensor, low: float, high: float, levels: int, fraction: float) -> float:
    return _interval_error(values, low * fraction, high, levels)


def _interval_error(values: Tensor, low: float, high: float, levels: int) -> float:
    scale = max((high - low) / (levels - 1), SMALLEST_SCALE)
    zero = round(-low / scale)
    codes = (values / scale + zero).round_().clamp_(0, levels - 1)
    return float((values - (codes - zero) * scale).square_().mean())
