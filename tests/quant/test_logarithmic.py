"""The logarithmic quantizer by hand, its search against brute force, its worth on a real detector."""

import math

import brevitas.nn as qnn
import pytest
import torch

from brevitas_defakeq.data.procedural import draw_many
from brevitas_defakeq.demo import as_tensors
from brevitas_defakeq.detectors.resolve import resolve
from brevitas_defakeq.nn.module_tree import removed_after
from brevitas_defakeq.prepare.calibrate import ActivationSample, fit_range_
from brevitas_defakeq.quant.activation_quantizer import (
    activation_proxies,
    range_parameters,
    set_logarithm_,
    stored_range,
)
from brevitas_defakeq.quant.fused import fused_quantizers
from brevitas_defakeq.quant.logarithmic_search import search_logarithm
from brevitas_defakeq.quant.presets import HAQActLogarithmic, HAQActPerTensorFloat, HAQWeightPerChannelFloat


def identity(bits, preset=HAQActLogarithmic):
    made = qnn.QuantIdentity(
        act_quant=preset, bit_width=bits, candidate_bits=(bits,), return_quant_tensor=False
    ).eval()
    (proxy,) = activation_proxies(made).values()
    return made, proxy


def logarithmic(bits, largest=1.0, shift=0.0, step=37.0):
    made, proxy = identity(bits)
    set_logarithm_(proxy, largest, shift, step)
    return made


def fitted(values, bits, preset):
    """A quantizer whose range was fitted to a sample of the values, as calibration does."""
    made, proxy = identity(bits, preset)
    sample = ActivationSample(batches=1)
    sample.add(values)
    fit_range_([proxy], [sample])
    return made


@torch.no_grad()
def squared_error(made, values):
    return float((made(values).double() - values).square().mean())


# ------------------------------------------------------------------------------------------ by hand


def test_base_2_by_hand():
    """3 bits: 2, 1, 1/2 ... 1/32 and 0; codes are rounded in the exponent, so 1.42 > sqrt(2) counts as 2."""
    values = torch.tensor([9.0, 2.0, 1.42, 1.41, 0.5, 0.0313, 0.0223, 0.022, 1e-20, 0.0, -1.0])
    expected = torch.tensor([2.0, 2.0, 2.0, 1.0, 0.5, 1 / 32, 1 / 32, 0.0, 0.0, 0.0, 0.0])
    torch.testing.assert_close(logarithmic(3, largest=2.0)(values), expected)


def test_another_base_and_a_shift_by_hand():
    """Factors of 2^(74/37) = 4 between 3.2, .8 and .2, less the shift .2; below .1 - .2 there is 0 - .2."""
    values = torch.tensor([5.0, 1.41, 1.39, 0.21, 0.19, -0.09, -0.11, -0.17])
    expected = torch.tensor([3.0, 3.0, 0.6, 0.6, 0.0, 0.0, -0.2, -0.2])
    torch.testing.assert_close(logarithmic(2, largest=3.2, shift=0.2, step=74.0)(values), expected)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_as_many_values_as_codes_and_in_order(bits):
    values = torch.cat([torch.zeros(1), torch.logspace(-40, 0.1, 9000)])
    quantized = logarithmic(bits, step=11.0)(values)
    assert len(quantized.unique()) == 2**bits
    assert (quantized.diff() >= 0).all()
    inside = (values > 2 ** (-(2**bits - 1.6) * 11 / 37)) & (values <= 1)
    ratio = (quantized / values)[inside].log2().abs()
    assert ratio.max() <= 5.5 / 37 * 1.0001, "half a step of the exponent"


def test_the_shift_may_as_well_be_taken_out_of_the_bias():
    """``W (x~ - d) + b = W x~ + (b - W d)``."""
    torch.manual_seed(0)
    layer = qnn.QuantLinear(
        6, 3, weight_quant=HAQWeightPerChannelFloat, weight_bit_width=8, input_quant=HAQActLogarithmic,
        input_bit_width=4, input_candidate_bits=(4,),
    )  # fmt: skip
    set_logarithm_(layer.input_quant, 1.5, 0.17, 20.0)
    inputs = torch.nn.functional.gelu(torch.randn(5, 6))
    unshifted = logarithmic(4, largest=1.5, step=20.0)
    weight = layer.quant_weight().value
    moved = layer.bias - 0.17 * weight.sum(dim=1)
    expected = torch.nn.functional.linear(unshifted(inputs + 0.17), weight, moved)
    torch.testing.assert_close(layer(inputs), expected)


def test_gradients_are_straight_through():
    """By the value as by itself (up to the rounding of its exponent); by s only where it clips."""
    made = logarithmic(3, largest=2.0)
    (proxy,) = activation_proxies(made).values()
    values = torch.tensor([3.0, 1.5, 0.7, 0.001, 0.0], requires_grad=True)
    quantized = made(values)
    quantized.sum().backward()
    torch.testing.assert_close(values.grad, torch.tensor([0.0, 2 / 1.5, 0.5 / 0.7, 0.0, 0.0]))
    (largest,) = range_parameters(proxy)
    torch.testing.assert_close(largest.grad, torch.tensor(1.0))
    assert [part.item() for part in stored_range(proxy)] == [2.0, 0.0, 37.0]


def test_fused_quantizers_leave_it_alone():
    made, values = logarithmic(4, step=20.0), torch.rand(50, generator=torch.Generator().manual_seed(0))
    expected = made(values)
    with fused_quantizers(made):
        assert torch.equal(made(values), expected)
    assert type(made(values)) is torch.Tensor, "it has no scale and no zero point to hand on"


# ------------------------------------------------------------------------------------------ search


def drawn(kind, count=300):
    generator = torch.Generator().manual_seed(5)
    values = torch.randn(count, generator=generator)
    if kind == "softmax":
        return (3 * values).view(-1, 20).softmax(dim=1).flatten()
    return torch.nn.functional.gelu(1.5 * values)


@pytest.mark.parametrize("kind", ["softmax", "gelu"])
@pytest.mark.parametrize("bits", [3, 4, 6])
def test_the_search_is_close_to_brute_force(kind, bits):
    values = drawn(kind)
    found = squared_error(logarithmic(bits, *search_logarithm(values, 2**bits)), values)
    best, steps = math.inf, torch.arange(1.0, 90.0).view(-1, 1, 1)
    for shift in [0.0] if kind == "softmax" else torch.linspace(0.0, 0.4, 11):
        largest = torch.linspace(0.5, 1.02, 27).view(-1, 1) * (values.max() + shift)
        codes = ((largest / (values + shift).clamp_min(1e-30)).log2().clamp_min(0) * 37 / steps).round()
        decoded = largest * 2 ** (-codes * steps / 37) * (codes < 2**bits - 1) - shift
        best = min(best, float((decoded - values).square().mean(2).min()))
    assert found < 1.03 * best


def test_degenerate_samples():
    for values in (torch.zeros(10), torch.full((10,), 0.25), torch.tensor([-0.1, -0.05])):
        found = search_logarithm(values, 16)
        made = logarithmic(4, *found)
        assert made(values).isfinite().all() and found[0] > 0 and found[1] >= 0 and found[2] >= 1
        torch.testing.assert_close(made(values), values, atol=2e-3, rtol=1e-2)


# ------------------------------------------------------------------------------------------ a real detector


@pytest.fixture(scope="module")
def observed():
    """What the shipped detector's three transformer blocks compute on drawn faces: {name: values}."""
    detector = resolve("demo")
    images, _ = as_tensors(draw_many(8, seed=11), detector.preprocessing)
    found, handles = {}, []
    for index, block in enumerate(detector.model.blocks):
        block.attn.fused_attn = False
        for kind, module in (("softmax", block.attn.attn_drop), ("gelu", block.mlp.fc2)):
            handles.append(
                module.register_forward_pre_hook(
                    lambda _, inputs, name=(kind, index): found.__setitem__(name, inputs[0])
                )
            )
    with torch.no_grad(), removed_after(handles):
        detector.model(images)
    return found


def gain(values, bits):
    """Error of the logarithmic quantizer relative to that of the uniform one, both fitted to the values."""
    return squared_error(fitted(values, bits, HAQActLogarithmic), values) / squared_error(
        fitted(values, bits, HAQActPerTensorFloat), values
    )


@pytest.mark.parametrize("index", [0, 1, 2])
def test_at_4_bits_it_beats_the_uniform_one_on_a_real_softmax(observed, index):
    """.99, .70 and .81 of the error, on sharp attentions: most weights are near 0 or 1."""
    values = observed["softmax", index]
    torch.testing.assert_close(values.sum(-1), torch.ones(values.shape[:-1]))
    assert gain(values, 4) < (1.0, 0.75, 0.85)[index]


@pytest.mark.parametrize("index", [0, 1, 2])
def test_at_4_bits_it_beats_the_uniform_one_behind_a_real_gelu(observed, index):
    """.39, .43 and .17 of the error."""
    values = observed["gelu", index]
    assert -0.17 < float(values.min()) < -0.16
    assert gain(values, 4) < 0.5


def test_at_8_bits_the_uniform_one_is_better_on_sharp_softmaxes(observed):
    """A logarithm spends its codes on values that add next to nothing to the error."""
    assert all(gain(observed["softmax", index], 8) > 1 for index in range(3))
