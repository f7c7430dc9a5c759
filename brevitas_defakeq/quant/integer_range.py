"""The integer side of a quantizer: how many codes a bit-width has, and which.

Brevitas' ``IntQuant`` takes ``2**b - 1`` as it comes. With ``b = log2(3)`` (three levels) that is 1.9999999,
which clamps codes to non-integers; hence the two small classes here, used in place of ``IntQuant`` and
``IntScaling``. ``quant.widths`` is the table of widths.
"""

import torch
from brevitas.core.quant import IntQuant
from torch import Tensor

from brevitas_defakeq.quant.widths import fractional_widths

#: Beyond it two products with unsigned bytes overflow the 16 bits that processors without VNNI add them in.
LARGEST_SAFE_CODE = 64


def effective_bits(bits: Tensor) -> Tensor:
    """The width whose ``2**b`` is the number of codes: ``log2(levels)`` of fractional ones, else itself."""
    for width in fractional_widths():
        chosen = (bits - width.bits).abs() < 1e-3
        exact = bits.new_tensor(float(width.levels)).log2()
        bits = torch.where(chosen, bits + (exact - bits).detach(), bits)
    return bits


def container_bits(bit_width: Tensor) -> Tensor:
    """The width a ``QuantTensor`` may claim: whole bits, so 2 for three levels."""
    levels = 2.0**bit_width
    for width in fractional_widths():
        chosen = (levels - width.levels).abs() < 1e-3
        bit_width = torch.where(chosen, bit_width + (width.container_bits - bit_width).detach(), bit_width)
    return bit_width


def num_levels(bit_width: Tensor, signed_narrow: bool = False) -> Tensor:
    """Number of codes at ``bit_width``, an exact integer wherever the width means one.

    Args:
        bit_width: scalar tensor, 1.58 to 16; relaxed widths give fractional levels with a gradient.
        signed_narrow: symmetric codes ``-n..n``: one code fewer, never fewer than three.

    >>> num_levels(torch.tensor(3.0)), num_levels(torch.tensor(2.0), signed_narrow=True)
    (tensor(8.), tensor(3.))
    """
    levels = 2.0**bit_width
    nearest = levels.round()
    snapped = levels + (nearest - levels).detach()
    levels = torch.where((levels - nearest).abs() < 1e-3, snapped, levels)
    return torch.clamp(levels - 1.0, min=3.0) if signed_narrow else levels


def largest_code(bit_width: Tensor, *, signed: bool) -> Tensor:
    """n of the codes ``-n..n`` (signed) or ``0..n``."""
    if signed:
        return (num_levels(bit_width, signed_narrow=True) - 1.0) / 2.0
    return num_levels(bit_width) - 1.0


class CodeIntQuant(IntQuant):
    """``IntQuant`` whose bounds are exact integers for fractional widths too."""

    def min_int(self, bit_width: Tensor) -> Tensor:
        if self.signed:
            return -self.max_int(bit_width)
        return torch.zeros_like(bit_width)

    def max_int(self, bit_width: Tensor) -> Tensor:
        return largest_code(bit_width, signed=self.signed)


class CodeScaling(torch.nn.Module):
    """``int_scaling_impl``: what the range is divided by to give the scale (largest code)."""

    def __init__(self, signed: bool) -> None:
        super().__init__()
        self.signed = signed

    def forward(self, bit_width: Tensor) -> Tensor:
        return largest_code(bit_width, signed=self.signed)
