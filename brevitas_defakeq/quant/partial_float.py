"""The weight quantizer: learnable width, searched range, and channels that may stay in float."""

import torch
from brevitas import config
from brevitas.core.quant import RescalingIntQuant
from brevitas.nn.quant_layer import QuantWeightBiasInputOutputLayer as QuantLayer
from torch import Tensor, nn

from brevitas_defakeq.quant.bit_width import is_relaxed
from brevitas_defakeq.quant.integer_range import container_bits
from brevitas_defakeq.quant.range_search import search_rows


class PartialFloatIntQuant(RescalingIntQuant):
    """``RescalingIntQuant`` that searches its own range and can leave output channels in float.

    It stays under the stock proxies (export handlers match those by type), so a layer that uses it is an
    ordinary Brevitas layer. ``float_mask`` (VEFT) marks the output channels that pass through unrounded:
    M_f, M_q and M_q^v are quantization off, mask empty and mask set.

    Buffers:
        float_mask: bool, ``[C_out, 1, ...]``; True = that output channel is not quantized.
        searched_bits: width that the range belongs to; -1 before the first forward.

    Attributes:
        restored_grid: codes [n, K], scale and zero point [n, 1] of the restored channels, as a file holds
            them; None where they are float.
        restored_bits: width of those codes.
    """

    def __init__(
        self,
        int_quant: nn.Module,
        scaling_impl: nn.Module,
        int_scaling_impl: nn.Module,
        zero_point_impl: nn.Module,
        bit_width_impl: nn.Module,
        scaling_shape: tuple[int, ...],
        signed: bool,
        centred_from_bits: float,
    ) -> None:
        super().__init__(int_quant, scaling_impl, int_scaling_impl, zero_point_impl, bit_width_impl)
        self.symmetric = signed
        self.centred_from_bits = centred_from_bits
        self.restored_grid: tuple[Tensor, Tensor, Tensor] | None = None
        self.restored_bits = 8
        self.register_buffer("float_mask", torch.zeros(scaling_shape, dtype=torch.bool))
        self.register_buffer("searched_bits", torch.tensor(-1.0))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Weight [C_out, ...] -> (de-quantized weight, scale, zero point, bit-width)."""
        self._follow_width_(x)
        y, scale, zero_point, bit_width = super().forward(x)
        if self.float_mask.any():
            y = torch.where(self.float_mask, x, y)
        return y, scale, zero_point, container_bits(bit_width)

    @property
    def restored_levels(self) -> int:
        """Levels of a restored channel at 8 bits, symmetric; +-63 where 8-bit weights are centred."""
        return 127 if self.centred_from_bits <= 8 else 255

    @torch.no_grad()
    def _follow_width_(self, weight: Tensor) -> None:
        """Search the range anew if the width has changed; a relaxed one only takes the zero point along."""
        bit_width = self.msb_clamp_bit_width_impl()
        if (bit_width - self.searched_bits).abs() < 1e-3:
            return
        if self.searched_bits < 0 or not is_relaxed(self):
            self.search_range_(weight)
            return
        if not self.symmetric:
            ratio = self.int_scaling_impl(bit_width) / self.int_scaling_impl(self.searched_bits)
            self.zero_point_impl.value.mul_(ratio)
        self.searched_bits.copy_(bit_width)

    @torch.no_grad()
    def search_range_(self, weight: Tensor, importance: Tensor | None = None) -> None:
        """Fit scale and zero point to ``weight`` at the present width, by least squared error.

        Args:
            weight: [C_out, ...].
            importance: weight of each element's squared error, broadcastable to [C_out, K].
        """
        bit_width = self.msb_clamp_bit_width_impl().detach()
        largest_code = self.int_scaling_impl(bit_width)
        levels = 2 * float(largest_code) + 1 if self.symmetric else float(largest_code) + 1
        centred = not self.symmetric and float(bit_width) >= self.centred_from_bits
        scale, zero = search_rows(
            weight.detach().flatten(1), int(round(levels)) - centred, symmetric=self.symmetric or centred,
            weight=importance,
        )  # fmt: skip
        if centred:
            zero = torch.full_like(zero, round(levels) // 2)
        self.scaling_impl.value.copy_(scale.view(self.float_mask.shape) * largest_code)
        if not self.symmetric:
            self.zero_point_impl.value.copy_(zero.view(self.float_mask.shape))
        self.searched_bits.copy_(bit_width)

    def _load_from_state_dict(
        self,
        state_dict: dict,
        prefix: str,
        metadata: dict,
        strict: bool,
        missing: list[str],
        *rest: list[str],
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, metadata, strict, missing, *rest)
        if config.IGNORE_MISSING_KEYS:  # a float checkpoint, as stock Brevitas parameters allow
            own = {prefix + "float_mask", prefix + "searched_bits"}
            missing[:] = [key for key in missing if key not in own]


def weight_quantizer(layer: QuantLayer) -> "PartialFloatIntQuant":
    """The quantizer behind a quantized layer's weight proxy. Only here is Brevitas' path to it known."""
    return layer.weight_quant.tensor_quant


def set_weight_quantizer_(layer: QuantLayer, quantizer: nn.Module) -> None:
    """Let another module quantize the layer's weight."""
    layer.weight_quant.tensor_quant = quantizer
