"""Convolutions behind a fixed padding that may be uneven, as TensorFlow's 'same' is."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class StaticPad(nn.Module):
    """Mixin: pads its input by fixed amounts (left, right, top, bottom) before the layer itself."""

    static_padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, self.static_padding))


class StaticPadConv2d(StaticPad, nn.Conv2d):
    """``Conv2d`` behind a fixed, possibly uneven padding: 'same' at one known input size."""


def with_static_padding(convolution: nn.Conv2d, padding: tuple[int, int, int, int]) -> StaticPadConv2d:
    """The convolution, its weight and bias shared, with this fixed padding in place of its own."""
    with torch.device("meta"):
        new = StaticPadConv2d(
            convolution.in_channels, convolution.out_channels, convolution.kernel_size, convolution.stride, 0,
            convolution.dilation, convolution.groups, convolution.bias is not None,
        )  # fmt: skip
    new.static_padding = tuple(padding)
    new.weight, new.bias = convolution.weight, convolution.bias
    return new.train(convolution.training)
