"""The integers of a quantized layer, as the file will hold them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from brevitas_defakeq.errors import UserError
from brevitas_defakeq.quant.bias import product_gain
from brevitas_defakeq.quant.coded import read_codes


@dataclass(frozen=True)
class CodedWeight:
    """``weight = scale (codes - zero_point)``, a scale and zero point for each output channel.

    Attributes:
        codes: uint8, laid out as in the file: [C_out, C_in/groups, ...], or [in, out] for a Linear; without
            the restored channels.
        zero_point: int32, scale: float32, one for each channel of ``codes``.
        axis: where the output channels lie.
        bits: width of the codes; 1.6 for three levels.
        restored: int8 [..] VEFT's channels, in the same layout, and their scale; empty in M_q.
        order: of each output channel of the layer, its place among (codes, restored).
    """

    codes: np.ndarray
    zero_point: np.ndarray
    scale: np.ndarray
    axis: int
    bits: float
    restored: np.ndarray
    restored_scale: np.ndarray
    order: np.ndarray

    @property
    def centred(self) -> np.ndarray:
        """codes - zero_point, int32."""
        return self.codes.astype(np.int32) - self.zero_point.reshape(self.along_channels)

    @property
    def along_channels(self) -> list[int]:
        """Shape of one number a channel that broadcasts over the codes."""
        return [-1 if axis == self.axis else 1 for axis in range(self.codes.ndim)]

    @cached_property
    def extremes(self) -> tuple[int, int]:
        """Smallest and largest of the centred codes, (0, 0) if there are none."""
        centred = self.centred
        return int(centred.min(initial=0)), int(centred.max(initial=0))

    @property
    def fits_int8(self) -> bool:
        return self.extremes[0] >= -128 and self.extremes[1] <= 127

    @property
    def gain(self) -> int:
        """What a convolution's codes are multiplied by, for its bias (``product_gain``)."""
        restored = int(np.abs(self.restored.astype(np.int32)).max(initial=0))
        return product_gain(max(-self.extremes[0], self.extremes[1], restored))

    @property
    def all_scales(self) -> np.ndarray:
        """float32, one for each output channel of the layer."""
        return np.concatenate([self.scale, self.restored_scale])[self.order]


@torch.no_grad()
def coded_weight(layer: nn.Module, bits: float) -> CodedWeight:
    """Codes of an M_q or M_q^v layer. Symmetric codes ``-n..n`` are stored from 0, with zero point n.

    Raises:
        UserError: the layer's restored channels are float numbers, which no integer kernel takes.
    """
    codes, scale, zero_point = read_codes(layer)
    quantizer = layer.weight_quant.tensor_quant
    if quantizer.symmetric:
        zero_point = zero_point + float(quantizer.int_quant.max_int(quantizer.msb_clamp_bit_width_impl()))
        codes = codes + zero_point
    restored = quantizer.float_mask.flatten()
    extra, extra_scale = _restored(layer, restored)
    kept = ~restored
    linear = codes.dim() == 2
    return CodedWeight(
        codes=_laid_out(codes[kept], linear).astype(np.uint8),
        zero_point=zero_point[kept].flatten().numpy().astype(np.int32),
        scale=scale[kept].flatten().numpy(),
        axis=1 if linear else 0,
        bits=bits,
        restored=_laid_out(extra, linear).astype(np.int8),
        restored_scale=extra_scale.flatten().numpy(),
        order=np.argsort(np.argsort(restored.numpy(), kind="stable"), kind="stable"),
    )


def _restored(layer: nn.Module, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Centred codes and scales of the restored channels."""
    if not mask.any():
        return layer.weight[:0], layer.weight.new_zeros(0)
    grid = layer.weight_quant.tensor_quant.restored_grid
    if grid is None:
        raise UserError(
            "the restored channels of this run are float numbers; quantize with mixed_channel_bits=8 to "
            "export them, or export M_q"
        )
    codes, scale, zero_point = grid
    if (codes - zero_point).abs().max() > 127:
        raise UserError("the restored channels of this run are asymmetric; quantize again to export M_q^v")
    return (codes - zero_point).view(-1, *layer.weight.shape[1:]), scale


def _laid_out(codes: Tensor, linear: bool) -> np.ndarray:
    return np.ascontiguousarray((codes.t() if linear else codes).numpy())
