"""Learned rounding leaves our zero point alone; it corrupts the stock one."""

import brevitas.nn as qnn
import pytest
import torch
from brevitas.inject.enum import FloatToIntImplType, LearnedRoundImplType
from brevitas.quant.shifted_scaled_int import ShiftedUint8WeightPerChannelFloat

from brevitas_defakeq.quant.partial_float import weight_quantizer
from brevitas_defakeq.quant.presets import HAQWeightPerChannelFloat

ROUNDING = {
    "weight_float_to_int_impl_type": FloatToIntImplType.LEARNED_ROUND,
    "weight_learned_round_impl_type": LearnedRoundImplType.HARD_SIGMOID,
    "weight_learned_round_gamma": -0.1,
    "weight_learned_round_zeta": 1.1,
    "weight_learned_round_init": torch.zeros(4, 10),
}


def layer(preset, **options):
    torch.manual_seed(0)
    return qnn.QuantLinear(10, 4, weight_quant=preset, weight_bit_width=4, **options)


def test_learned_rounding_leaves_the_zero_point_an_integer_per_channel():
    made = layer(HAQWeightPerChannelFloat, **ROUNDING)
    _, _, zero, _ = weight_quantizer(made)(made.weight)
    plain = layer(HAQWeightPerChannelFloat)
    _, _, expected, _ = weight_quantizer(plain)(plain.weight)
    assert zero.shape == (4, 1)
    assert torch.equal(zero, zero.round())
    assert torch.equal(zero, expected)


def test_the_stock_zero_point_becomes_weight_shaped():
    """The defect that ``IntegerZeroPoint`` exists for; when stock Brevitas fixes it, ours may go."""
    made = layer(ShiftedUint8WeightPerChannelFloat, **ROUNDING)
    _, _, zero, _ = weight_quantizer(made)(made.weight)
    assert zero.shape == made.weight.shape


@pytest.mark.parametrize(("value", "expected"), [(3.4, 3), (3.6, 4), (-5.0, 0), (99.0, 15)])
def test_rounds_and_stays_within_the_codes(value, expected):
    made = layer(HAQWeightPerChannelFloat)
    made.quant_weight()
    quantizer = weight_quantizer(made)
    quantizer.zero_point_impl.value.data.fill_(value)
    _, _, zero, _ = quantizer(made.weight)
    assert (zero == expected).all()


def test_a_changed_scale_does_not_move_it_and_gradients_reach_it():
    made = layer(HAQWeightPerChannelFloat)
    quantizer = weight_quantizer(made)
    _, _, before, _ = quantizer(made.weight)
    quantizer.scaling_impl.value.data.mul_(1.3)
    _, _, after, _ = quantizer(made.weight)
    assert torch.equal(before, after)
    quantizer.zero_point_impl.value.data.fill_(0.0)  # negative weights are now clamped: moving it helps
    value = quantizer(made.weight)[0]
    (value - made.weight).square().sum().backward()
    assert (quantizer.zero_point_impl.value.grad < 0).all()
