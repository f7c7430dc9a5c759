"""Biases on the grid that an integer kernel adds them in: whole numbers of products of two codes."""

import math

import torch
from torch import nn

from brevitas_defakeq.quant.activation import activation_grid
from brevitas_defakeq.quant.coded import read_codes

#: Beyond it two products with unsigned bytes overflow the 16 bits that processors without VNNI add them in.
_LARGEST_CODE = 64


def product_gain(largest: float) -> int:
    """The power of two by which codes of at most ``largest`` can grow and stay within +-64.

    Two-bit weights make a coarse grid for the bias. Codes ``gain`` times larger under a scale as much smaller
    are the same weights on a finer one.

    >>> product_gain(3), product_gain(7), product_gain(127)
    (16, 8, 1)
    """
    return 2 ** max(0, math.floor(math.log2(_LARGEST_CODE / max(1.0, largest))))


@torch.no_grad()
def round_bias_(layer: nn.Module) -> None:
    """Move a quantized layer's bias to its integer grid; layers whose input stays float are left alone."""
    if not layer.input_quant.is_quant_enabled:
        return
    codes, scale, zero_point = read_codes(layer)
    gain = product_gain(float((codes - zero_point).abs().max()))
    grid = activation_grid(layer.input_quant)[0] * scale.flatten() / gain
    layer.bias.copy_((layer.bias / grid).round() * grid)
