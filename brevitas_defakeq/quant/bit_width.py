"""Bit-widths that are learned over a set of candidates.

Stock ``BitWidthParameter`` holds the width (so that Brevitas' bit-width losses and
``has_learned_weight_bit_width`` keep working); only what restricts its value is ours, because stock
``IntRestrictValue`` takes every integer but no set of candidates, no relaxed width and no fractional one.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from brevitas.core.bit_width import BitWidthParameter
from brevitas.core.quant import RescalingIntQuant
from brevitas.function.ops_ste import scalar_clamp_ste
from torch import Tensor, nn

from brevitas_defakeq.nn.module_tree import flag_set
from brevitas_defakeq.quant.integer_range import effective_bits
from brevitas_defakeq.quant.widths import DEFAULT_CANDIDATE_BITS, SAME_BITS
from brevitas_defakeq.utils.errors import UserError


class CandidateBitWidth(nn.Module):
    """Restricts a learned width to ``candidate_bits``.

    Relaxed (``relaxed = True``): clamped to the candidates' range, continuous, gradient 1 (b̂ of
    eq. 6), at the ends of the range too, so that a width can leave them again. Snapped (the default):
    the nearest candidate, gradient passed straight through. A fractional candidate comes out as
    ``log2(levels)``: 1.6 as ``log2(3)``.

    Args:
        candidate_bits: widths in bits, registered in ``widths`` or integers up to 16 (activations).
    """

    def __init__(self, candidate_bits: Sequence[float] = DEFAULT_CANDIDATE_BITS) -> None:
        super().__init__()
        self.candidates = tuple(sorted(float(bits) for bits in candidate_bits))
        self.relaxed = False

    def restrict_init_float(self, x: float) -> float:
        return float(x)

    def restrict_init_tensor(self, x: Tensor) -> Tensor:
        return x

    def restrict_init_module(self) -> nn.Module:
        return nn.Identity()

    def restrict_init_inplace_module(self) -> nn.Module:
        return nn.Identity()

    def forward(self, bit_width: Tensor) -> Tensor:
        clamped = scalar_clamp_ste(bit_width, self.candidates[0], self.candidates[-1])
        if self.relaxed:
            return clamped
        candidates = clamped.new_tensor(self.candidates)
        nearest = candidates[(candidates - clamped.detach()).abs().argmin()]
        return effective_bits(clamped + (nearest - clamped).detach())


def candidate_parameter(quantizer: RescalingIntQuant) -> BitWidthParameter:
    """The ``BitWidthParameter`` of a weight or activation quantizer (``tensor_quant``)."""
    return quantizer.msb_clamp_bit_width_impl


def candidates_of(quantizer: RescalingIntQuant) -> tuple[float, ...]:
    """The widths that the quantizer can have, ascending."""
    candidates: tuple[float, ...] = candidate_parameter(
        quantizer
    ).restrict_clamp_bit_width_impl.restrict_value_impl.candidates
    return candidates


def relaxed_bits(quantizer: RescalingIntQuant) -> Tensor:
    """b̂ of eq. 6 as a tensor with its gradient, whether or not the quantizer is relaxed now."""
    impl = candidate_parameter(quantizer)
    candidates = candidates_of(quantizer)
    return scalar_clamp_ste(impl.bit_width_offset.abs() + impl.bit_width_base, candidates[0], candidates[-1])


def is_relaxed(quantizer: nn.Module) -> bool:
    """Whether the quantizer's width is continuous now (inside ``relaxed``)."""
    return any(part.relaxed for part in quantizer.modules() if isinstance(part, CandidateBitWidth))


def set_bits_(quantizer: RescalingIntQuant, bits: float) -> None:
    """Put the width at ``bits``. Raises UserError unless it is a candidate."""
    candidates = candidates_of(quantizer)
    if all(abs(bits - candidate) >= SAME_BITS for candidate in candidates):
        known = ", ".join(f"{candidate:g}" for candidate in candidates)
        raise UserError(f"{bits:g} bits is none of the layer's candidates; choose of {known}")
    set_relaxed_bits_(quantizer, bits)


def set_relaxed_bits_(quantizer: RescalingIntQuant, bits: float) -> None:
    """Put b̂ at ``bits``: a candidate, or any value in between, of which a snapped width is the nearest."""
    impl = candidate_parameter(quantizer)
    with torch.no_grad():
        impl.bit_width_offset.fill_(float(bits) - impl.bit_width_base)


def relaxed(model: nn.Module) -> AbstractContextManager[None]:
    """Within the context every learned width of ``model`` is continuous (b̂); snapped after it."""
    return flag_set([m for m in model.modules() if isinstance(m, CandidateBitWidth)], "relaxed")
