"""Channels that stay float, and state dicts that hold all of it."""

import brevitas.nn as qnn
import pytest
import torch
from brevitas import config
from nominal_width import nominal_bits
from torch import nn

from brevitas_defakeq.quant.bit_width import relaxed, set_bits_, set_relaxed_bits_
from brevitas_defakeq.quant.partial_float import weight_quantizer
from brevitas_defakeq.quant.presets import (
    HAQActPerTensorFloat,
    HAQWeightPerChannelFloat,
    HAQWeightPerChannelSymmetric,
)

PRESETS = [HAQWeightPerChannelFloat, HAQWeightPerChannelSymmetric]


def network(seed, preset=HAQWeightPerChannelFloat):
    torch.manual_seed(seed)
    options = {
        "weight_quant": preset,
        "weight_bit_width": 8,
        "input_quant": HAQActPerTensorFloat,
        "input_bit_width": 8,
    }
    return nn.Sequential(
        qnn.QuantConv2d(3, 5, 3, **options), nn.ReLU(), nn.Flatten(), qnn.QuantLinear(80, 4, **options)
    )


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("index", [0, 3])
def test_masked_channels_are_the_float_weight_bit_for_bit(preset, index):
    layer = network(0, preset)[index]
    quantizer = weight_quantizer(layer)
    set_bits_(quantizer, 3)
    plain = layer.quant_weight().value
    quantizer.float_mask[1] = quantizer.float_mask[3] = True
    mixed = layer.quant_weight()
    mixed = getattr(mixed, "value", mixed)
    assert torch.equal(mixed[[1, 3]], layer.weight[[1, 3]])
    assert torch.equal(mixed[[0, 2]], plain[[0, 2]])
    assert not torch.equal(plain[[1, 3]], layer.weight[[1, 3]])


def test_a_masked_channel_gets_its_whole_gradient():
    layer = network(0)[3]
    quantizer = weight_quantizer(layer)
    quantizer.float_mask[1] = True
    quantizer(layer.weight)[0].sum().backward()
    assert (layer.weight.grad[1] == 1).all()


@pytest.mark.parametrize("preset", PRESETS)
def test_state_dict_into_a_fresh_network(preset):
    images = torch.randn(2, 3, 6, 6)
    trained, fresh = network(0, preset), network(1, preset)
    trained.train()(images)  # activation statistics
    trained.eval()
    for index, bits in ((0, 3), (3, 2)):
        quantizer = weight_quantizer(trained[index])
        set_bits_(quantizer, bits)
        quantizer.search_range_(trained[index].weight)
        quantizer.scaling_impl.value.data.mul_(1.1)  # a learned scale, which no search would give
    weight_quantizer(trained[3]).float_mask[2] = True
    expected = trained(images)
    fresh.eval().load_state_dict(trained.state_dict())
    assert torch.equal(fresh(images), expected)
    assert nominal_bits(weight_quantizer(fresh[0])) == 3
    assert weight_quantizer(fresh[3]).float_mask.flatten().tolist() == [False, False, True, False]


def test_state_dict_into_a_network_that_was_used_before():
    images = torch.randn(2, 3, 6, 6)
    trained, used = network(0), network(1)
    for model in (trained, used):
        model.train()(images)
        model.eval()
    weight_quantizer(trained[0]).scaling_impl.value.data.mul_(1.1)
    used.load_state_dict(trained.state_dict())
    assert torch.equal(used(images), trained(images))


@pytest.mark.parametrize("used_before", [False, True])
def test_a_float_state_dict_is_searched_anew(used_before):
    torch.manual_seed(5)
    plain = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(80, 4))
    with torch.no_grad():
        plain[0].weight.mul_(7)
    quantized = network(1).eval()
    if used_before:
        quantized(torch.randn(2, 3, 6, 6))
    before = config.IGNORE_MISSING_KEYS
    try:
        config.IGNORE_MISSING_KEYS = True
        quantized.load_state_dict(plain.state_dict())
    finally:
        config.IGNORE_MISSING_KEYS = before
    for index in (0, 3):
        error = (quantized[index].quant_weight().value - plain[index].weight).abs()
        span = plain[index].weight.flatten(1).amax(1) - plain[index].weight.flatten(1).amin(1)
        assert (error.flatten(1).amax(1) <= span / 255).all(), "8 bits: within one step of the float weight"


def test_a_float_state_dict_is_refused_without_that_switch():
    with pytest.raises(RuntimeError, match="Missing key"):
        network(1).load_state_dict(
            nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(80, 4)).state_dict()
        )


def test_a_relaxed_width_takes_the_range_along():
    """From 8 bits to 3.3: the zero point's code shrinks with the codes, what is representable stays."""
    layer = network(0)[3]
    quantizer = weight_quantizer(layer)
    low, high = layer.weight.amin(1), layer.weight.amax(1)
    with relaxed(layer):
        for bits in (8, 6.5, 5, 3.3):
            set_relaxed_bits_(quantizer, bits)
            value, scale, *_ = quantizer(layer.weight)
            tolerance = 1.05 * scale.flatten()
            assert ((value.amin(1) - low).abs() <= tolerance).all()
            assert ((value.amax(1) - high).abs() <= tolerance).all()
    codes = layer.quant_weight().int(float_datatype=True)
    assert set(codes.unique().tolist()) == set(range(8)), "snapped to 3 bits, and searched there"


def test_the_range_is_searched_once_on_the_first_forward():
    layer = network(0)[3]
    quantizer = weight_quantizer(layer)
    assert quantizer.searched_bits == -1
    layer.quant_weight()
    assert quantizer.searched_bits == 8
    first = quantizer.scaling_impl.value.clone()
    with torch.no_grad():
        layer.weight.mul_(2)
    layer.quant_weight()
    assert torch.equal(quantizer.scaling_impl.value, first)
