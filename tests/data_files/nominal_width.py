"""The width that a weight quantizer has now."""

from brevitas_defakeq.quant.bit_width import candidate_parameter


def nominal_bits(quantizer) -> float:
    """The width as it counts against a budget: a candidate such as 1.6, 2 or 8 (snapped)."""
    impl = candidate_parameter(quantizer)
    width = float(impl.bit_width_offset.detach().abs()) + impl.bit_width_base
    candidates = impl.restrict_clamp_bit_width_impl.restrict_value_impl.candidates
    return min(candidates, key=lambda bits: abs(bits - width))
