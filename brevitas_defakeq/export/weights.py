"""The integers of a quantized layer, as the file will hold them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from brevitas_defakeq.quant.coded import read_codes


@dataclass(frozen=True)
class CodedWeight:
    """``weight = scale (codes - zero_point)``, a scale and zero point for each output channel.

    Attributes:
        codes: uint8, in the layout of the file: [C_out, C_in/groups, ...] or [in, out] for a Linear.
        zero_point: int32 [C_out]; scale: float32 [C_out].
        axis: where the output channels lie in ``codes``.
        bits: width of the codes; 1.6 for three levels.
    """

    codes: np.ndarray
    zero_point: np.ndarray
    scale: np.ndarray
    axis: int
    bits: float

    @property
    def centred(self) -> np.ndarray:
        """codes - zero_point, int32."""
        shape = [-1 if axis == self.axis else 1 for axis in range(self.codes.ndim)]
        return self.codes.astype(np.int32) - self.zero_point.reshape(shape)

    @property
    def fits_int8(self) -> bool:
        centred = self.centred
        return centred.min() >= -128 and centred.max() <= 127

    @property
    def may_saturate(self) -> bool:
        """Whether two products with unsigned bytes can exceed 16 bits, as processors without VNNI add them."""
        return int(np.abs(self.centred).max()) > 64


@torch.no_grad()
def coded_weight(layer: nn.Module, bits: float) -> CodedWeight:
    """Codes of an M_q layer. Symmetric codes ``-n..n`` are stored from 0, with zero point n."""
    codes, scale, zero_point = read_codes(layer)
    quantizer = layer.weight_quant.tensor_quant
    if quantizer.symmetric:
        zero_point = zero_point + float(quantizer.int_quant.max_int(quantizer.msb_clamp_bit_width_impl()))
        codes = codes + zero_point
    linear = codes.dim() == 2
    codes = codes.t() if linear else codes
    return CodedWeight(
        np.ascontiguousarray(codes.numpy().astype(np.uint8)), zero_point.flatten().numpy().astype(np.int32),
        scale.flatten().numpy().astype(np.float32), 1 if linear else 0, bits,
    )  # fmt: skip
