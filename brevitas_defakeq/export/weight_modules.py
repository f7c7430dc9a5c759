"""Export modules for weights in ExecuTorch, LiteRT and Core ML: each returns the weight [C_out, ...]."""

import numpy as np
import torch
import torch.ao.quantization.fx._decomposed  # noqa: F401 registers the operators
from torch import Tensor, nn

from brevitas_defakeq.export.integer_weights import IntegerWeight

_OPERATORS = torch.ops.quantized_decomposed
_SIGNED = -127, 127, torch.int8


class DequantizedWeight(nn.Module):
    """Codes [C_out, ...] with a scale and a zero point for each output channel."""

    def __init__(self, codes: np.ndarray, scale: np.ndarray, zero_point: np.ndarray | None = None) -> None:
        super().__init__()
        zero_point = np.zeros(len(scale)) if zero_point is None else zero_point
        self.register_buffer("codes", torch.from_numpy(codes))
        self.register_buffer("scale", torch.from_numpy(scale))
        self.register_buffer("zero_point", torch.from_numpy(zero_point.astype(np.int64)))
        self.code_range = _SIGNED if codes.dtype == np.int8 else (0, 255, torch.uint8)

    def forward(self) -> Tensor:
        grid = self.scale, self.zero_point, 0, *self.code_range
        return _OPERATORS.dequantize_per_channel.default(self.codes, *grid)


class RequantizedWeight(nn.Module):
    """Float weights that fall on their codes when they are quantized again: a converter folds that."""

    def __init__(self, weight: IntegerWeight) -> None:
        super().__init__()
        self.weight = FloatWeight(weight).weight
        scale = signed_codes(weight)[1]
        self.register_buffer("scale", torch.from_numpy(scale))
        self.register_buffer("zero_point", torch.zeros(len(scale), dtype=torch.int64))

    def forward(self) -> Tensor:
        grid = self.scale, self.zero_point, 0, *_SIGNED
        codes = _OPERATORS.quantize_per_channel.default(self.weight, *grid)
        return _OPERATORS.dequantize_per_channel.default(codes, *grid)


class FloatWeight(nn.Module):
    """``scale (codes - zero_point)`` as float numbers."""

    def __init__(self, weight: IntegerWeight) -> None:
        super().__init__()
        scale = weight.all_scales.reshape(weight.along_channels)
        whole = weight.joined(weight.centred.astype(np.float32), weight.restored.astype(np.float32)) * scale
        self.weight = nn.Parameter(torch.from_numpy(channels_first(weight, whole)), requires_grad=False)

    def forward(self) -> Tensor:
        return self.weight


def centred_weight(weight: IntegerWeight) -> DequantizedWeight:
    """codes - zero_point as signed bytes."""
    return DequantizedWeight(*signed_codes(weight))


def signed_codes(weight: IntegerWeight) -> tuple[np.ndarray, np.ndarray]:
    """int8 codes [C_out, ...] of an integer layer, times its gain, and float32 scales [C_out]."""
    codes = weight.joined(weight.gain * weight.centred, weight.gain * weight.restored.astype(np.int32))
    return channels_first(weight, codes.astype(np.int8)), weight.all_scales / np.float32(weight.gain)


def channels_first(weight: IntegerWeight, values: np.ndarray) -> np.ndarray:
    """``values``, laid out as the weight's codes, as [C_out, ...]."""
    return np.ascontiguousarray(np.moveaxis(values, weight.axis, 0))
