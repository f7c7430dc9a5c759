"""Codes and scales as things of their own, while they are learned.

Stock ``LearnedRoundSte`` divides the weight by the scale in every step, so a learned scale moves the grid
under the rounding; here the floor is taken once and scale and rounding are learned independently
(``W~ = s (clamp(floor(W/s0) + h(V), 0, 2^k - 1) - z)``, eq. 8; z is inside the floor). ``h`` is stock.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from brevitas.core.function_wrapper.learned_round import LearnedRoundHardSigmoid
from brevitas.nn.quant_layer import QuantWeightBiasInputOutputLayer as QuantLayer
from torch import Tensor, nn

from brevitas_defakeq.quant.partial_float import set_weight_quantizer_, weight_quantizer


class CodedWeight(nn.Module):
    """Replaces a weight's ``tensor_quant`` while its codes, scale or both are optimized.

    Args:
        layer: a Brevitas layer with one of our weight quantizers.
        learn_rounding: learn V (eq. 8), starting at the present weight; otherwise the codes are fixed.

    Attributes:
        gain: learned factor on the scale, ``[C_out, 1, ...]``, starts at 1.
        rounding: V of eq. 8, shaped like the weight (None without learned rounding).
        float_weight, float_mask: set both to let the masked output channels pass in float (VEFT).
    """

    def __init__(self, layer: QuantLayer, *, learn_rounding: bool) -> None:
        super().__init__()
        quantizer = weight_quantizer(layer)
        with torch.no_grad():
            _, scale, zero, self.bit_width = quantizer(layer.weight)
            real_width = quantizer.msb_clamp_bit_width_impl()
            self.lowest = float(quantizer.int_quant.min_int(real_width))
            self.highest = float(quantizer.int_quant.max_int(real_width))
            position = layer.weight / scale + zero
            self.base = position.floor() if learn_rounding else self._fixed(position)
        self.scale, self.zero_point = scale.detach(), zero.detach()
        self.gain = nn.Parameter(torch.ones_like(self.scale))
        self.soften = LearnedRoundHardSigmoid()
        self.rounding = nn.Parameter(_inverse_hard_sigmoid(position - self.base)) if learn_rounding else None
        self.float_weight: Tensor | None = None
        self.float_mask: Tensor | None = None

    def _fixed(self, position: Tensor) -> Tensor:
        """Codes that stay, as bytes where they fit: the last pass holds those of the whole network."""
        codes = position.round().clamp(self.lowest, self.highest)
        return codes.to(torch.uint8) if self.lowest >= 0 and self.highest <= 255 else codes

    def soft_rounding(self) -> Tensor:
        """h(V) of eq. 8: in [0, 1] while training, 0 or 1 once hardened (``eval``)."""
        return self.soften(self.rounding)

    def codes(self) -> Tensor:
        """Integer codes (fractional while h is soft), shaped like the weight."""
        if self.rounding is None:
            return self.base.to(self.scale.dtype)
        return (self.base + self.soft_rounding()).clamp(self.lowest, self.highest)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        scale = self.scale * self.gain
        weight = scale * (self.codes() - self.zero_point)
        if self.float_mask is not None and self.float_weight is not None:
            weight = torch.where(self.float_mask, self.float_weight, weight)
        return weight, scale, self.zero_point, self.bit_width


def _inverse_hard_sigmoid(fraction: Tensor) -> Tensor:
    """V for which ``h(V) = clamp(1.2 sigmoid(V) - 0.1, 0, 1)`` equals ``fraction``."""
    return torch.logit((fraction + 0.1) / 1.2)


@torch.no_grad()
def write_codes_(layer: QuantLayer, codes: Tensor, scale: Tensor, zero_point: Tensor) -> None:
    """Make the layer's weight exactly ``scale (codes - zero_point)``: plain rounding keeps the codes."""
    quantizer = weight_quantizer(layer)
    bit_width = quantizer.msb_clamp_bit_width_impl()
    layer.weight.copy_(scale * (codes - zero_point))
    quantizer.scaling_impl.value.copy_(scale * quantizer.int_scaling_impl(bit_width))
    if not quantizer.symmetric:
        quantizer.zero_point_impl.value.copy_(zero_point)
    quantizer.searched_bits.copy_(bit_width)


@torch.no_grad()
def read_codes(layer: QuantLayer) -> tuple[Tensor, Tensor, Tensor]:
    """Codes (integers as floats, shaped like the weight), scale and zero point (``[C_out, 1, ...]``)."""
    quantizer = weight_quantizer(layer)
    quantizer(layer.weight)  # a first forward searches the range
    bit_width = quantizer.msb_clamp_bit_width_impl()
    scale = quantizer.scaling_impl(layer.weight, quantizer.int_scaling_impl(bit_width))
    zero_point = quantizer.zero_point_impl(layer.weight, scale, bit_width).expand_as(scale)
    return quantizer.int_quant.to_int(scale, zero_point, bit_width, layer.weight), scale, zero_point


@contextmanager
def coded_weights(
    layers: Mapping[str, QuantLayer], *, learn_rounding: bool
) -> Iterator[dict[str, CodedWeight]]:
    """Within the context the layers' weights are ``CodedWeight``; a normal exit writes the result back.

    An exception (Ctrl-C) leaves the layers as they were.
    """
    stock = {name: weight_quantizer(layer) for name, layer in layers.items()}
    coded = {name: CodedWeight(layer, learn_rounding=learn_rounding) for name, layer in layers.items()}
    try:
        for name, layer in layers.items():
            set_weight_quantizer_(layer, coded[name])
        yield coded
    finally:
        for name, layer in layers.items():
            set_weight_quantizer_(layer, stock[name])
    for name, layer in layers.items():
        hardened = coded[name].eval()
        with torch.no_grad():
            scale = hardened.scale * hardened.gain
            write_codes_(layer, hardened.codes(), scale, hardened.zero_point)
