"""What a layer's output is matched to, and the affine step per channel that is folded into the layer for it.

A target is filled by ``add`` with the float layer's outputs; ``affine`` then takes the quantized layer's.
"""

from collections import deque
from dataclasses import dataclass, field

import torch
from torch import Tensor

from brevitas_defakeq.quant.moments import MAX_GAIN, ChannelMoments, channel_rows


@dataclass
class PairedOutputs:
    """Outputs of a float layer, call by call: the same calls of the quantized layer are regressed on them.

    The statistics of two unrelated tensors may agree; pairs of values tell how much of the output is left to
    scale (QwT-v2, arXiv 2505.20932).
    """

    calls: deque[Tensor] = field(default_factory=deque)

    def add(self, output: Tensor, channel_dim: int) -> None:
        self.calls.append(output.detach().clone())

    def affine(self, output: Tensor, channel_dim: int) -> tuple[Tensor, Tensor]:
        """Gain and shift per channel, [C] each, for the quantized layer's next call."""
        wanted = self.calls[0]
        self.calls.rotate(-1)
        return regression_affine(wanted, output, channel_dim)


def regression_affine(wanted: Tensor, actual: Tensor, channel_dim: int) -> tuple[Tensor, Tensor]:
    """Gain and shift per channel, [C] each, with the least ``|gain * actual + shift - wanted|^2``.

    ``gain = cov(actual, wanted) / var(actual)`` within the bounds of `matching_affine`'s, which it therefore
    never exceeds in squared error. A channel that hardly moves keeps gain 1 and is only shifted.
    """
    target, present = (channel_rows(tensor, channel_dim) for tensor in (wanted, actual))
    centre, mean = target.mean(dim=1), present.mean(dim=1)
    deviation = present - mean[:, None]
    variance = deviation.square().mean(dim=1)
    covariance = (deviation * (target - centre[:, None])).mean(dim=1)
    floor = 1e-3 * float(target.std(dim=1, correction=0).mean()) + 1e-12
    fitted = (covariance / variance.clamp_min(1e-24)).clamp(1 / MAX_GAIN, MAX_GAIN)
    gain = torch.where(variance.sqrt() > floor, fitted, torch.ones_like(fitted))
    return gain.float(), (centre - gain * mean).float()


#: Either kind of target.
MatchingTarget = ChannelMoments | PairedOutputs
#: Setting ``matching`` -> its kind of target; "none" has none.
MATCHING_TARGETS: dict[str, type[MatchingTarget]] = {"moments": ChannelMoments, "regression": PairedOutputs}
