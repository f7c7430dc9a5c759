"""The quantizers in ordinary Brevitas layers: codes in range, values = scale (code - zero point)."""

import brevitas.nn as qnn
import pytest
import torch

from brevitas_defakeq.quant.activation_quantizer import (
    activation_grid,
    activation_proxies,
    set_activation_range_,
)
from brevitas_defakeq.quant.bit_width import set_bits_
from brevitas_defakeq.quant.partial_float import weight_quantizer
from brevitas_defakeq.quant.presets import (
    HAQActPerTensorFloat,
    HAQActPerTensorSymmetric,
    HAQWeightPerChannelFloat,
    HAQWeightPerChannelSymmetric,
)

CANDIDATES = (1.6, 2, 3, 4, 6, 8)
PRESETS = [HAQWeightPerChannelFloat, HAQWeightPerChannelSymmetric]
MAKERS = {
    "linear": lambda **options: qnn.QuantLinear(24, 6, **options),
    "conv2d": lambda **options: qnn.QuantConv2d(8, 6, 3, groups=2, padding=1, **options),
    "conv1d": lambda **options: qnn.QuantConv1d(4, 6, 5, **options),
}
INPUTS = {"linear": (2, 24), "conv2d": (2, 8, 6, 6), "conv1d": (2, 4, 9)}


def layer(kind, preset, bits=4, **options):
    torch.manual_seed(1)
    return MAKERS[kind](
        weight_quant=preset, weight_bit_width=8, weight_candidate_bits=CANDIDATES, **options
    ), bits


@pytest.mark.parametrize("bits", CANDIDATES)
@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("preset", PRESETS)
def test_codes_and_values(preset, kind, bits):
    made, _ = layer(kind, preset)
    set_bits_(weight_quantizer(made), bits)
    with torch.no_grad():
        made.weight[0] += 0.5  # a channel that is not centred
    quantized = made.quant_weight()
    codes = quantized.int(float_datatype=True)
    levels = 3 if bits == 1.6 else 2**bits
    low, high = (0, levels - 1)
    if preset is HAQWeightPerChannelSymmetric:
        half = max((levels - 2) // 2, 1)
        low, high = -half, half
        assert (quantized.zero_point == 0).all()
    assert codes.min() >= low and codes.max() <= high
    assert torch.equal(codes, codes.round())
    assert quantized.scale.shape == (6, *[1] * (made.weight.dim() - 1))
    torch.testing.assert_close(quantized.value, quantized.scale * (codes - quantized.zero_point))
    # Not clamped: within half a step of the float weight.
    inside = (codes > low) & (codes < high)
    assert ((quantized.value - made.weight).abs() <= quantized.scale * 0.5001)[inside].all()


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("preset", PRESETS)
def test_the_layer_computes_with_the_quantized_weight(preset, kind):
    made, _ = layer(kind, preset)
    x = torch.randn(INPUTS[kind])
    weight = made.quant_weight().value
    plain = getattr(torch.nn.functional, kind)
    options = {} if kind == "linear" else {"padding": made.padding, "groups": made.groups}
    torch.testing.assert_close(made(x), plain(x, weight, made.bias, **options))


@pytest.mark.parametrize("preset", PRESETS)
def test_three_levels_are_exactly_three_codes(preset):
    made, _ = layer("linear", preset)
    quantizer = weight_quantizer(made)
    set_bits_(quantizer, 1.6)
    codes = made.quant_weight().int(float_datatype=True)
    expected = {0.0, 1.0, 2.0} if preset is HAQWeightPerChannelFloat else {-1.0, 0.0, 1.0}
    assert set(codes.unique().tolist()) == expected
    assert float(made.quant_weight().bit_width) == 2.0


@pytest.mark.parametrize("bits", [2, 3])
@pytest.mark.parametrize("preset", PRESETS)
def test_a_search_at_the_new_width_beats_min_max_there(preset, bits):
    made, _ = layer("linear", preset)
    with torch.no_grad():
        made.weight[:, 0] *= 3
    made.quant_weight()  # searched at 8 bits, where it is all but min-max
    quantizer = weight_quantizer(made)
    set_bits_(quantizer, bits)
    fresh = (made.quant_weight().value - made.weight).square().sum(dim=1)
    weight = made.weight.detach()
    if preset is HAQWeightPerChannelFloat:
        low, high = weight.amin(1, keepdim=True), weight.amax(1, keepdim=True)
        scale = (high - low) / (2**bits - 1)
        plain = ((weight / scale - (low / scale).round()).round().clamp(0, 2**bits - 1)) + (
            low / scale
        ).round()
    else:
        half = 2 ** (bits - 1) - 1
        scale = weight.abs().amax(1, keepdim=True) / half
        plain = (weight / scale).round().clamp(-half, half)
    min_max = (plain * scale - weight).square().sum(dim=1)
    assert (fresh <= min_max * 1.0001).all()
    assert fresh.sum() < 0.9 * min_max.sum()
    quantizer.search_range_(made.weight)
    again = (made.quant_weight().value - made.weight).square().sum(dim=1)
    assert torch.equal(again, fresh)


def test_importance_weighs_the_search():
    made, _ = layer("linear", HAQWeightPerChannelFloat)
    quantizer = weight_quantizer(made)
    set_bits_(quantizer, 2)
    importance = torch.ones(1, 24)
    importance[:, :4] = 1000.0
    quantizer.search_range_(made.weight)
    plain = (made.quant_weight().value - made.weight).square()[:, :4].sum()
    quantizer.search_range_(made.weight, importance)
    weighted = (made.quant_weight().value - made.weight).square()[:, :4].sum()
    assert weighted < plain


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("preset", [HAQActPerTensorFloat, HAQActPerTensorSymmetric])
def test_activation_range_and_grid(preset, bits):
    identity = qnn.QuantIdentity(
        act_quant=preset, bit_width=bits, candidate_bits=(bits,), return_quant_tensor=True
    )
    (proxy,) = activation_proxies(identity).values()
    symmetric = preset is HAQActPerTensorSymmetric
    set_activation_range_(proxy, -2.0 if symmetric else -0.5, 2.0)
    scale, zero, width = activation_grid(proxy)
    assert float(width) == bits
    low = -(2 ** (bits - 1)) if symmetric else 0
    high = low + 2**bits - 1
    step = 2.0 / 2 ** (bits - 1) if symmetric else 2.5 / (2**bits - 1)
    assert float(scale) == pytest.approx(step)
    assert float(zero) == (0 if symmetric else round(0.5 / step))
    x = torch.linspace(-3, 3, 501)
    out = identity(x)
    codes = torch.clamp((x / scale + zero).round(), low, high)
    torch.testing.assert_close(out.value, scale * (codes - zero))
    assert len(out.value.unique()) <= 2**bits
    identity.train()  # calibrated: training does not go back to statistics
    before = activation_grid(proxy)[0]
    identity(100 * x)
    assert torch.equal(activation_grid(proxy)[0], before)
