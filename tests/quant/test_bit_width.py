"""The learned width: what it snaps to, what it is while relaxed, and which way its gradient points."""

import math

import brevitas.nn as qnn
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nominal_width import nominal_bits

from brevitas_defakeq.quant.bit_width import (
    CandidateBitWidth,
    relaxed,
    relaxed_bits,
    set_bits_,
    set_relaxed_bits_,
)
from brevitas_defakeq.quant.partial_float import weight_quantizer
from brevitas_defakeq.quant.presets import HAQWeightPerChannelFloat, HAQWeightPerChannelSymmetric
from brevitas_defakeq.utils.errors import UserError

CANDIDATES = (1.6, 2.0, 3.0, 4.0, 8.0)


def layer(bits=4, candidates=(2, 3, 4, 6, 8), preset=HAQWeightPerChannelFloat):
    torch.manual_seed(0)
    return qnn.QuantLinear(
        40, 6, weight_quant=preset, weight_bit_width=bits, weight_candidate_bits=candidates
    )


@given(st.floats(0.5, 10))
def test_snapping_takes_the_nearest_candidate(width):
    nearest = min(CANDIDATES, key=lambda bits: abs(bits - min(max(width, 1.6), 8.0)))
    distances = sorted(abs(bits - width) for bits in CANDIDATES)
    if distances[1] - distances[0] < 1e-5:
        return  # a tie: either is nearest
    out = CandidateBitWidth(CANDIDATES)(torch.tensor(width))
    assert float(out) == pytest.approx(math.log2(3) if nearest == 1.6 else nearest, abs=1e-6)


@given(st.floats(0.5, 10))
def test_relaxed_only_clamps(width):
    restriction = CandidateBitWidth(CANDIDATES)
    restriction.relaxed = True
    value = torch.tensor(width, requires_grad=True)
    out = restriction(value)
    out.backward()
    assert out.item() == pytest.approx(min(max(width, 1.6), 8.0))
    assert float(value.grad) == 1.0


@pytest.mark.parametrize("start", [1.6, 2.8, 8.0, 8.3])
def test_snapped_passes_the_gradient_straight_through(start):
    value = torch.tensor(start, requires_grad=True)
    CandidateBitWidth(CANDIDATES)(value).backward()
    assert float(value.grad) == 1.0


def test_order_of_the_candidates_does_not_matter():
    assert float(CandidateBitWidth((8, 2, 4))(torch.tensor(3.9))) == 4.0


@pytest.mark.parametrize("bits", [1.6, 2, 3, 4, 8])
def test_set_and_nominal_bits(bits):
    quantizer = weight_quantizer(layer(candidates=CANDIDATES))
    set_bits_(quantizer, bits)
    assert nominal_bits(quantizer) == bits
    assert relaxed_bits(quantizer).item() == pytest.approx(bits)
    effective = math.log2(3) if bits == 1.6 else bits
    assert quantizer.msb_clamp_bit_width_impl().item() == pytest.approx(effective, abs=1e-6)


@pytest.mark.parametrize("bits", [1.6, 5, 2.5, 16])
def test_a_width_that_is_no_candidate_is_refused_with_those_that_are(bits):
    quantizer = weight_quantizer(layer(4, candidates=(2, 3, 4, 6, 8)))
    with pytest.raises(UserError, match=f"^{bits:g} bits is none of .* choose of 2, 3, 4, 6, 8$"):
        set_bits_(quantizer, bits)
    assert nominal_bits(quantizer) == 4


def test_a_width_in_between_is_kept_while_relaxed_and_snapped_after():
    made = layer()
    quantizer = weight_quantizer(made)
    set_relaxed_bits_(quantizer, 4.4)
    with relaxed(made):
        assert quantizer.msb_clamp_bit_width_impl().item() == pytest.approx(4.4)
    assert float(quantizer.msb_clamp_bit_width_impl()) == 4.0
    assert nominal_bits(quantizer) == 4.0
    with pytest.raises(RuntimeError), relaxed(made):
        raise RuntimeError
    assert float(quantizer.msb_clamp_bit_width_impl()) == 4.0


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_relaxed_bits_has_gradient_one_at_the_ends_too(bits):
    """torch's own clamp gives none there since 2.14, and a layer at its largest width would never learn."""
    quantizer = weight_quantizer(layer(bits))
    bits = relaxed_bits(quantizer)
    (gradient,) = torch.autograd.grad(bits, quantizer.msb_clamp_bit_width_impl.bit_width_offset)
    assert float(gradient) == 1.0


@pytest.mark.parametrize("preset", [HAQWeightPerChannelFloat, HAQWeightPerChannelSymmetric])
def test_more_bits_lower_the_rounding_error_and_the_gradient_says_so(preset):
    """With the range fixed, d(error)/db̂ by hand: ds/db̂ = -s 2^b ln2 / n and dE/ds = sum 2 e^2 / s inside."""
    made = layer(preset=preset)
    quantizer = weight_quantizer(made)
    made.quant_weight()  # searches the range at 4 bits
    with torch.no_grad():  # widen it so that nothing is clamped
        quantizer.scaling_impl.value.mul_(4.0)
    with relaxed(made):
        set_relaxed_bits_(quantizer, 4.5)
        value, scale, *_ = quantizer(made.weight)
        error = (value - made.weight).square().sum()
        (gradient,) = torch.autograd.grad(error, quantizer.msb_clamp_bit_width_impl.bit_width_offset)
    assert float(gradient) < 0
    e, s = (value - made.weight).detach(), scale.detach()
    by_scale = (2 * e.square() / s).sum(dim=1, keepdim=True)
    symmetric = preset is HAQWeightPerChannelSymmetric
    largest = (2**4.5 - 2) / 2 if symmetric else 2**4.5 - 1
    d_largest = math.log(2) * 2**4.5 / (2 if symmetric else 1)
    expected = (by_scale * (-s / largest) * d_largest).sum()
    assert float(gradient) == pytest.approx(float(expected), rel=1e-3)
