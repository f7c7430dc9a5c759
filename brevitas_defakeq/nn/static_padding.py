"""Convolutions behind a fixed padding that may be uneven, as TensorFlow's 'same' is."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brevitas_defakeq.nn.layer_kind import Sides
from brevitas_defakeq.nn.strided_pointwise import TrainableQuantConv2d


class StaticPad(nn.Module):
    """Mixin: pads its input by fixed amounts (left, right, top, bottom) before the layer itself."""

    static_padding: Sides = (0, 0, 0, 0)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(padded(self, x))


class StaticPadConv2d(StaticPad, nn.Conv2d):
    """``Conv2d`` behind a fixed, possibly uneven padding: 'same' at one known input size."""


class StaticPadQuantConv2d(StaticPad, TrainableQuantConv2d):
    """Brevitas ``QuantConv2d`` behind a fixed, possibly uneven padding."""


def padded(layer: nn.Module, inputs: Tensor) -> Tensor:
    """``inputs`` with the layer's static padding, if it has one."""
    return F.pad(inputs, layer.static_padding) if isinstance(layer, StaticPad) else inputs


def with_static_padding(convolution: nn.Conv2d, padding: Sides) -> StaticPadConv2d:
    """The convolution, its weight and bias shared, with this fixed padding in place of its own."""
    with torch.device("meta"):
        new = StaticPadConv2d(
            convolution.in_channels, convolution.out_channels, _pair(convolution.kernel_size),
            _pair(convolution.stride), 0, _pair(convolution.dilation), convolution.groups,
            convolution.bias is not None,
        )  # fmt: skip
    new.static_padding = padding
    new.weight, new.bias = convolution.weight, convolution.bias
    return new.train(convolution.training)


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    """For height and width: torch types them as a tuple of any length."""
    height, width = values
    return height, width
