"""Biases on the grid that an integer kernel adds them in: whole numbers of products of two codes."""

import math

import torch
from brevitas.nn.quant_layer import QuantWeightBiasInputOutputLayer as QuantLayer
from torch import Tensor

from brevitas_defakeq.nn.layer_kinds import layer_kind_of
from brevitas_defakeq.quant.coded_weight import read_codes
from brevitas_defakeq.quant.integer_range import LARGEST_SAFE_CODE
from brevitas_defakeq.quant.partial_float import weight_quantizer


def product_gain(largest: float) -> int:
    """The power of two by which codes of at most ``largest`` can grow and stay within +-64.

    Two-bit weights make a coarse grid for the bias. Codes ``gain`` times larger under a scale as much smaller
    are the same weights on a finer one.

    >>> product_gain(3), product_gain(7), product_gain(127)
    (16, 8, 1)
    """
    return 2 ** max(0, math.floor(math.log2(LARGEST_SAFE_CODE / max(1.0, largest))))


@torch.no_grad()
def round_bias_(layer: QuantLayer, step: Tensor) -> None:
    """Move a convolution's bias to its integer grid; matrix products add theirs in float.

    A layer with restored channels in float, which no integer kernel takes, is left alone.

    Args:
        step: of the codes that the layer reads.
    """
    quantizer = weight_quantizer(layer)
    restored = quantizer.float_mask.flatten()
    if not layer_kind_of(layer).integer_bias or (restored.any() and quantizer.restored_grid is None):
        return
    codes, scale, zero_point = read_codes(layer)
    centred, scale = (codes - zero_point).flatten(1), scale.flatten().clone()
    if quantizer.restored_grid is not None:
        codes, restored_scale, zero_point = quantizer.restored_grid
        centred[restored], scale[restored] = codes - zero_point, restored_scale.flatten()
    grid = step * scale / product_gain(float(centred.abs().max()))
    layer.bias.copy_((layer.bias / grid).round() * grid)
