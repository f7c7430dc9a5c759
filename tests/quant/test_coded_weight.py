"""Codes, scale and rounding learned on their own (eq. 8), and what is written back."""

import brevitas.nn as qnn
import pytest
import torch

from brevitas_defakeq.quant.bit_width import set_bits_
from brevitas_defakeq.quant.coded_weight import coded_weights, read_codes, write_codes_
from brevitas_defakeq.quant.partial_float import weight_quantizer
from brevitas_defakeq.quant.presets import HAQWeightPerChannelFloat, HAQWeightPerChannelSymmetric

PRESETS = [HAQWeightPerChannelFloat, HAQWeightPerChannelSymmetric]


def layer(preset=HAQWeightPerChannelFloat, bits=3, candidates=(1.6, 2, 3, 4, 8)):
    torch.manual_seed(2)
    made = qnn.QuantConv2d(4, 6, 3, weight_quant=preset, weight_bit_width=8, weight_candidate_bits=candidates)
    set_bits_(weight_quantizer(made), bits)
    made.quant_weight()
    return made


def state(made):
    return {name: tensor.clone() for name, tensor in made.state_dict().items()}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("bits", [1.6, 2, 3, 8])
def test_read_codes_are_those_of_eq_1(preset, bits):
    made = layer(preset, bits)
    codes, scale, zero = read_codes(made)
    levels = 3 if bits == 1.6 else 2**bits
    half = max((levels - 2) // 2, 1)
    low, high = (0, levels - 1) if preset is HAQWeightPerChannelFloat else (-half, half)
    assert torch.equal(codes, (made.weight / scale + zero).round().clamp(low, high))
    assert scale.shape == zero.shape == (6, 1, 1, 1)
    torch.testing.assert_close(made.quant_weight().value, scale * (codes - zero))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("bits", [1.6, 2, 3, 4, 8])
def test_written_codes_are_read_again(preset, bits):
    made = layer(preset, bits)
    generator = torch.Generator().manual_seed(0)
    levels = 3 if bits == 1.6 else 2**bits
    half = max((levels - 2) // 2, 1)
    symmetric = preset is HAQWeightPerChannelSymmetric
    low, high = (-half, half) if symmetric else (0, levels - 1)
    codes = torch.randint(low, high + 1, made.weight.shape, generator=generator).float()
    scale = torch.rand(6, 1, 1, 1, generator=generator) * 10 ** torch.arange(-5.0, 1.0).view(-1, 1, 1, 1)
    zero = torch.zeros_like(scale) if symmetric else torch.arange(6.0).view(-1, 1, 1, 1).clamp(max=high)
    write_codes_(made, codes, scale, zero)
    again, scale_again, zero_again = read_codes(made)
    assert torch.equal(again, codes)
    assert torch.equal(zero_again, zero)
    torch.testing.assert_close(scale_again, scale)
    torch.testing.assert_close(made.quant_weight().value, scale * (codes - zero))
    torch.testing.assert_close(made.weight, scale * (codes - zero))


@pytest.mark.parametrize("preset", PRESETS)
def test_learned_rounding_starts_at_the_float_weight(preset):
    made = layer(preset, bits=8)
    with coded_weights({"x": made}, learn_rounding=True) as coded:
        soft = coded["x"].soft_rounding()
        position = made.weight / coded["x"].scale + coded["x"].zero_point
        torch.testing.assert_close(soft, position - position.floor(), atol=1e-4, rtol=0)
        value = made.quant_weight().value
        inside = (position > coded["x"].lowest) & (position < coded["x"].highest)
        torch.testing.assert_close(value[inside], made.weight[inside], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("bits", [1.6, 2, 3])
def test_exit_writes_codes_that_plain_rounding_reproduces(preset, bits):
    made = layer(preset, bits)
    generator = torch.Generator().manual_seed(7)
    before = made.weight.detach().clone()
    _, scale, zero = read_codes(made)
    with coded_weights({"x": made}, learn_rounding=True) as coded, torch.no_grad():
        up = torch.rand(made.weight.shape, generator=generator) < 0.5
        coded["x"].rounding.copy_(torch.where(up, 4.0, -4.0))
        gain = 0.9 + 0.2 * torch.rand(6, 1, 1, 1, generator=generator)
        coded["x"].gain.copy_(gain)
    levels = 3 if bits == 1.6 else 2**bits
    half = max((levels - 2) // 2, 1)
    low, high = (0, levels - 1) if preset is HAQWeightPerChannelFloat else (-half, half)
    expected = ((before / scale).add(zero).floor() + up).clamp(low, high)  # eq. 8, h hardened
    codes, new_scale, new_zero = read_codes(made)
    assert torch.equal(codes, expected)
    torch.testing.assert_close(new_scale, scale * gain)
    assert torch.equal(new_zero, zero)
    rounded = (made.weight / new_scale + new_zero).round()
    assert torch.equal(rounded, codes), "plain rounding, without clamping, gives the codes"
    assert weight_quantizer(made).__class__.__name__ == "PartialFloatIntQuant"


@pytest.mark.parametrize("learn_rounding", [True, False])
def test_an_exception_leaves_the_layer_untouched(learn_rounding):
    made, other = layer(), layer()
    before = state(made)
    quantizer = weight_quantizer(made)
    with (
        pytest.raises(KeyboardInterrupt),
        coded_weights({"x": made, "y": other}, learn_rounding=learn_rounding) as coded,
    ):
        with torch.no_grad():
            coded["x"].gain.mul_(3)
        raise KeyboardInterrupt
    assert weight_quantizer(made) is quantizer
    after = state(made)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_fixed_codes_stay_while_scales_are_learned():
    made = layer(bits=3)
    codes, scale, zero = read_codes(made)
    target = made.weight.detach() * 1.5  # the best scale is half as large again
    with coded_weights({"x": made}, learn_rounding=False) as coded:
        assert coded["x"].rounding is None
        optimizer = torch.optim.Adam([coded["x"].gain], lr=0.02)
        for _ in range(150):
            optimizer.zero_grad()
            (made.quant_weight().value - target).square().sum().backward()
            optimizer.step()
    new_codes, new_scale, new_zero = read_codes(made)
    assert torch.equal(new_codes, codes)
    assert torch.equal(new_zero, zero)
    centred = (codes - zero).flatten(1)
    best = (centred * target.flatten(1)).sum(1) / centred.square().sum(1)  # least squares by hand
    torch.testing.assert_close(new_scale.flatten(), best, rtol=0.01, atol=0)


def test_adaround_lowers_the_output_error_below_plain_rounding():
    """Learned rounding on correlated inputs must beat rounding to nearest, eq. 7's purpose."""
    torch.manual_seed(0)
    made = qnn.QuantLinear(16, 4, weight_quant=HAQWeightPerChannelFloat, weight_bit_width=2)
    inputs = torch.randn(64, 3) @ torch.randn(3, 16)
    weight = made.weight.detach().clone()
    target = inputs @ weight.T
    nearest = (inputs @ made.quant_weight().value.T - target).square().mean()
    with coded_weights({"x": made}, learn_rounding=True) as coded:
        optimizer = torch.optim.Adam([coded["x"].rounding], lr=0.05)
        for step in range(300):
            optimizer.zero_grad()
            value = weight_quantizer(made)(made.weight)[0]
            soft = coded["x"].soft_rounding()
            beta = 20 - 18 * step / 300
            penalty = (1 - (2 * soft - 1).abs() ** beta).sum()
            ((inputs @ value.T - target).square().mean() + 0.003 * penalty * (step > 60)).backward()
            optimizer.step()
    learned = (inputs @ made.quant_weight().value.T - target).square().mean()
    assert learned < 0.7 * nearest


def test_float_channels_pass_through_a_coded_weight():
    made = layer(bits=2)
    with coded_weights({"x": made}, learn_rounding=False) as coded:
        plain = coded["x"](made.weight)[0].detach()
        mask = torch.zeros(6, 1, 1, 1, dtype=torch.bool)
        mask[2] = True
        coded["x"].float_weight, coded["x"].float_mask = torch.full_like(plain, 7.0), mask
        mixed = coded["x"](made.weight)[0]
        assert (mixed[2] == 7.0).all()
        assert torch.equal(mixed[[0, 1, 3, 4, 5]], plain[[0, 1, 3, 4, 5]])
        coded["x"].float_mask = None
