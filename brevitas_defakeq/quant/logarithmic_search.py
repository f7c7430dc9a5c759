"""The scale, shift and base of a logarithmic quantizer with the least squared error on a sample.

A value's code depends on its place among the bounds between codes alone, so sorted values and their running
sums give the error of any setting at once. All combinations of a grid are tried, then those of finer grids
around the best of them, and so on: the authors' progressive search (FPCS).
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from brevitas_defakeq.quant.logarithmic import LOG_ROOT
from brevitas_defakeq.quant.range_search import SMALLEST_SCALE

#: Tried first: s, by the largest shifted value; d, by the size of the lowest value; q, up to factors of 8.
_SCALES = 0.9 ** torch.arange(24, dtype=torch.float64)
_SHIFTS = torch.linspace(0.0, 2.0, 11, dtype=torch.float64)
_STEPS = (1.2 ** torch.arange(26, dtype=torch.float64)).round().unique()
#: Combinations kept from grid to grid; finer grids, each of half the span; their points along each axis.
_KEPT, _FINER, _POINTS = 32, 6, 5


def search_logarithm(values: Tensor, levels: int) -> tuple[float, float, float]:
    """s, d and q with the least squared error.

    Args:
        values: a sample of the activation, [K].
        levels: number of codes, 4 to 256.
    """
    sample = _Sample(values)
    best = sample.best(torch.cartesian_prod(_SCALES, (sample.depth * _SHIFTS).unique(), _STEPS), levels)
    offsets = torch.cartesian_prod(*[torch.linspace(-1.0, 1.0, _POINTS, dtype=torch.float64)] * 3)
    for finer in range(_FINER):
        scale, shift, step = best[:, None].unbind(2)  # [kept, 1]
        spans = torch.stack([0.1 * scale, torch.full_like(shift, 0.2 * sample.depth), 0.2 * step], dim=2)
        tried = (best[:, None] + 0.5**finer * spans * offsets).flatten(0, 1)
        tried[:, 1].clamp_(min=0.0)
        tried[:, 2].round_().clamp_(min=1.0)
        best = sample.best(tried.unique(dim=0), levels)
    scale, shift, step = best[0].tolist()
    return scale * (sample.high + shift), shift, step


class _Sample:
    """Sorted values with their running sums.

    Attributes:
        high: the largest value, or nearly 0.
        depth: how far the values go below 0.
    """

    def __init__(self, values: Tensor) -> None:
        self.values = values.detach().flatten().double().cpu().sort().values
        self.sums = pad(self.values.cumsum(0), (1, 0))
        self.high = max(float(self.values[-1]), SMALLEST_SCALE)
        self.depth = max(-float(self.values[0]), 0.0)

    def best(self, tried: Tensor, levels: int) -> Tensor:
        """Those of the combinations of s / (high + d), d and q, [M, 3], with the least error, best first."""
        scale, shift, step = tried[:, :, None].unbind(1)
        errors = self._errors(scale * (self.high + shift), shift, step, levels)
        return tried[errors.argsort()[:_KEPT]]

    def _errors(self, largest: Tensor, shift: Tensor, step: Tensor, levels: int) -> Tensor:
        """Summed squared errors of the settings ([M, 1] each), but for the values' own squares, [M].

        n values x that are decoded to y add ``n y^2 - 2 y sum x``.
        """
        codes = torch.arange(levels - 1, dtype=torch.float64)
        decoded = (
            pad(largest * 2 ** (-codes * step / LOG_ROOT), (0, 1)) - shift
        )  # [M, levels], the last for 0
        bounds = largest * 2 ** (-(codes + 0.5) * step / LOG_ROOT) - shift  # [M, levels - 1], falling
        below = torch.searchsorted(self.values, bounds)
        stops, starts = pad(below, (1, 0), value=len(self.values)), pad(below, (0, 1))
        counts, sums = stops - starts, self.sums[stops] - self.sums[starts]
        return (counts * decoded.square() - 2 * decoded * sums).sum(dim=1)
