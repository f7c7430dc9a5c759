"""The integers of a quantized layer, as the file will hold them."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from brevitas.nn.quant_layer import QuantWeightBiasInputOutputLayer as QuantLayer
from torch import Tensor

from brevitas_defakeq.nn.layer_kinds import layer_kind_of
from brevitas_defakeq.quant.activation_quantizer import activation_grid
from brevitas_defakeq.quant.bias import product_gain
from brevitas_defakeq.quant.coded_weight import read_codes
from brevitas_defakeq.quant.integer_range import LARGEST_SAFE_CODE
from brevitas_defakeq.quant.partial_float import weight_quantizer

#: Bits of a bias where its scale is free: 32 less a sign, six for the codes' largest gain and one to spare.
_BIAS_BITS = 24


@dataclass(frozen=True)
class IntegerWeight:
    """``weight = scale (codes - zero_point)``, a scale and zero point for each output channel.

    Attributes:
        codes: uint8, laid out as in the file: [C_out, C_in/groups, ...], or [in, out] for a Linear; without
            the restored channels.
        zero_point: int32, scale: float32, one for each channel of ``codes``.
        axis: that of the output channels.
        integer_bias: integer kernels add the bias in units of the products (``LayerKind.integer_bias``).
        bits: width of the codes; 1.6 for three levels.
        restored: VEFT's channels in the same layout, and their scale; int8, or float32 of scale 1 where the
            run keeps them in float; empty in M_q.
        order: of each output channel of the layer, its place among (codes, restored).
        exchanged_groups: of a transposed convolution, whose operator takes [C_in, C_out/groups, ...].
    """

    codes: np.ndarray
    zero_point: np.ndarray
    scale: np.ndarray
    axis: int
    integer_bias: bool
    bits: float
    restored: np.ndarray
    restored_scale: np.ndarray
    order: np.ndarray
    exchanged_groups: int | None = None

    @property
    def centred(self) -> np.ndarray:
        """codes - zero_point, int32."""
        return self.codes.astype(np.int32) - self.zero_point.reshape(self.along_channels)

    @property
    def along_channels(self) -> list[int]:
        """Shape of one number a channel that broadcasts over the codes."""
        return [-1 if axis == self.axis else 1 for axis in range(self.codes.ndim)]

    def joined(self, kept: np.ndarray, restored: np.ndarray) -> np.ndarray:
        """Values of ``codes`` and of the restored channels in the layer's own order of channels."""
        return np.take(np.concatenate([kept, restored], axis=self.axis), self.order, axis=self.axis)

    @cached_property
    def largest(self) -> float:
        """Largest magnitude among the centred codes and the restored channels, 0 if there are none."""
        parts = self.centred, self.restored.astype(np.float32)
        return float(max(np.abs(part).max(initial=0) for part in parts))

    @property
    def is_integer(self) -> bool:
        """Whether there are integer kernels, and a byte holds every centred code."""
        return self.exchanged_groups is None and self.largest <= 127 and self.restored.dtype == np.int8

    @property
    def is_safe(self) -> bool:
        """Whether no processor's products of signed codes overflow."""
        return self.largest <= LARGEST_SAFE_CODE

    @property
    def gain(self) -> int:
        """What the codes are multiplied by, for the bias (``product_gain``); 1 where it is added in float."""
        return product_gain(self.largest) if self.integer_bias else 1

    @property
    def all_scales(self) -> np.ndarray:
        """float32, one for each output channel of the layer."""
        return np.concatenate([self.scale, self.restored_scale])[self.order]


@torch.no_grad()
def integer_weight(layer: QuantLayer, bits: float) -> IntegerWeight:
    """Codes of an M_q or M_q^v layer. Symmetric codes ``-n..n`` are stored from 0, with zero point n."""
    codes, scale, zero_point = read_codes(layer)
    quantizer = weight_quantizer(layer)
    if quantizer.symmetric:
        zero_point = zero_point + float(quantizer.int_quant.max_int(quantizer.msb_clamp_bit_width_impl()))
        codes = codes + zero_point
    restored = quantizer.float_mask.flatten()
    extra, extra_scale = _restored(layer, restored)
    scale = _revived(layer, codes - zero_point, scale)
    kept = ~restored
    kind = layer_kind_of(layer)
    weight = IntegerWeight(
        codes=_laid_out(codes[kept], kind.file_axis).astype(np.uint8),
        zero_point=zero_point[kept].flatten().numpy().astype(np.int32),
        scale=scale[kept].flatten().numpy(),
        axis=kind.file_axis,
        integer_bias=kind.integer_bias,
        bits=bits,
        restored=_laid_out(extra, kind.file_axis),
        restored_scale=extra_scale.flatten().numpy(),
        order=np.argsort(np.argsort(restored.numpy(), kind="stable"), kind="stable"),
        exchanged_groups=kind.exchanged(layer) if kind.exchanged else None,
    )
    return _lowered(weight)


def _lowered(weight: IntegerWeight) -> IntegerWeight:
    """The same weight with zero points that a signed byte holds, times ``product_gain`` too.

    A channel may need no such zero point: codes 3 with zero point 3 are codes 0 with zero point 0.
    """
    others = tuple(axis for axis in range(weight.codes.ndim) if axis != weight.axis)
    least = weight.codes.min(axis=others, initial=255)
    down = np.where(
        weight.zero_point * product_gain(weight.largest) > 127, np.minimum(least, weight.zero_point), 0
    )
    return replace(
        weight,
        codes=weight.codes - down.reshape(weight.along_channels).astype(np.uint8),
        zero_point=weight.zero_point - down,
    )


def _revived(layer: QuantLayer, centred: Tensor, scale: Tensor) -> Tensor:
    """Scales with another one, a power of two, for channels whose codes are all zero.

    Any scale says the same there, and theirs has vanished; but a convolution's bias is counted in it, and in
    32 bits.
    """
    dead = ~centred.flatten(1).any(dim=1).view_as(scale)
    if not dead.any() or not layer.input_quant.is_quant_enabled:
        return scale
    step = activation_grid(layer.input_quant)[0]
    smallest = layer.bias.abs().view_as(scale) / (step * 2**_BIAS_BITS)
    return torch.where(dead, torch.exp2(smallest.clamp_min(2.0**-30).log2().ceil()), scale)


def _restored(layer: QuantLayer, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Centred int8 codes and scales of the restored channels, or float rows (of 16 bits too) and ones."""
    rows, quantizer = layer.weight[mask], weight_quantizer(layer)
    grid = quantizer.restored_grid
    if mask.any() and (grid is None or quantizer.restored_bits > 8):
        return rows, torch.ones(len(rows))
    if grid is None:
        return rows.to(torch.int8), torch.zeros(0)
    codes, scale, zero_point = grid
    return (codes - zero_point).to(torch.int8).view_as(rows), scale


def _laid_out(codes: Tensor, axis: int) -> np.ndarray:
    return np.ascontiguousarray(codes.movedim(0, axis).numpy())
