"""Biases on the grid that an integer kernel adds them in: whole numbers of products of two codes."""

import math

import torch
from torch import nn

from brevitas_defakeq.quant.activation import activation_grid
from brevitas_defakeq.quant.coded import read_codes
from brevitas_defakeq.quant.integer import LARGEST_SAFE_CODE


def product_gain(largest: float) -> int:
    """The power of two by which codes of at most ``largest`` can grow and stay within +-64.

    Two-bit weights make a coarse grid for the bias. Codes ``gain`` times larger under a scale as much smaller
    are the same weights on a finer one.

    >>> product_gain(3), product_gain(7), product_gain(127)
    (16, 8, 1)
    """
    return 2 ** max(0, math.floor(math.log2(LARGEST_SAFE_CODE / max(1.0, largest))))


@torch.no_grad()
def round_bias_(layer: nn.Module) -> None:
    """Move a convolution's bias to its integer grid; matrix products add theirs in float.

    Layers that no integer kernel takes are left alone: a float input, or restored channels kept in float.
    """
    quantizer = layer.weight_quant.tensor_quant
    restored = quantizer.float_mask.flatten()
    in_float = not layer.input_quant.is_quant_enabled or (restored.any() and quantizer.restored_grid is None)
    if layer.weight.dim() == 2 or in_float:
        return
    codes, scale, zero_point = read_codes(layer)
    centred, scale = (codes - zero_point).flatten(1), scale.flatten().clone()
    if restored.any():
        codes, restored_scale, zero_point = quantizer.restored_grid
        centred[restored], scale[restored] = codes - zero_point, restored_scale.flatten()
    grid = activation_grid(layer.input_quant)[0] * scale / product_gain(float(centred.abs().max()))
    layer.bias.copy_((layer.bias / grid).round() * grid)
