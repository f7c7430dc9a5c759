"""Quantized convolutions whose weight gradient is right on every processor.

oneDNN's weight gradient of a 1 x 1 convolution of stride 2 or more writes out of bounds, or is wrong, where
the input is channels-last with few channels (autograd's and `torch.nn.grad`'s, which call the same kernel).
With stride 1 on every second position it is right.
"""

from collections.abc import Sequence
from typing import Any

import brevitas.nn as qnn
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd


def picked(inputs: Tensor, stride: Sequence[int]) -> Tensor:
    """Of [N, C, ...] the positions that a 1 x 1 convolution of this stride reads."""
    positions: Any = (..., *(slice(None, None, step) for step in stride))
    return inputs[positions]


class StridedPointwise(_ConvNd):
    """Mixin: where a gradient of its weight is wanted, a strided 1 x 1 convolution picks positions first."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        pointwise = not any(size > 1 for size in self.kernel_size) and not any(self.padding)
        values = getattr(weight, "value", weight)  # of a Brevitas ``QuantTensor``
        wanted = torch.is_grad_enabled() and values.requires_grad
        if not (pointwise and wanted and any(step > 1 for step in self.stride)):
            return super()._conv_forward(input, weight, bias)
        convolve = F.conv1d if weight.dim() == 3 else F.conv2d
        taken = picked(input, self.stride)
        return convolve(taken, weight, bias, groups=self.groups)


class TrainableQuantConv1d(StridedPointwise, qnn.QuantConv1d):
    """Brevitas ``QuantConv1d`` with a right weight gradient."""


class TrainableQuantConv2d(StridedPointwise, qnn.QuantConv2d):
    """Brevitas ``QuantConv2d`` with a right weight gradient."""
