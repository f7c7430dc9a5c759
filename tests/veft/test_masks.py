"""VEFT's masks: how many, which, and a model that is itself again afterwards."""

import copy

import brevitas.nn as qnn
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from brevitas_defakeq.quant.bit_width import set_bits_
from brevitas_defakeq.quant.coded_weight import coded_weights
from brevitas_defakeq.quant.partial_float import weight_quantizer
from brevitas_defakeq.quant.presets import HAQWeightPerChannelFloat
from brevitas_defakeq.veft.masks import FloatChannels, largest_mask, random_mask


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@given(st.integers(1, 300), st.floats(0, 1), st.integers(0, 1000))
def test_random_masks_hold_exactly_their_share(channels, fraction, seed):
    mask = random_mask(channels, fraction, seeded(seed))
    assert mask.dtype == torch.bool and mask.shape == (channels,)
    assert int(mask.sum()) == round(fraction * channels)
    assert torch.equal(mask, random_mask(channels, fraction, seeded(seed)))


def test_draws_differ_and_every_channel_has_its_turn():
    generator = seeded(0)
    counts = sum(random_mask(20, 0.1, generator).int() for _ in range(2000))
    assert not torch.equal(random_mask(200, 0.1, generator), random_mask(200, 0.1, generator))
    assert counts.sum() == 4000
    assert ((counts > 130) & (counts < 270)).all(), "200 expected for each"


def test_largest_mask_by_hand():
    score = torch.tensor([0.1, 5.0, 0.2, 3.0, 0.0])
    assert largest_mask(score, 0.4).tolist() == [False, True, False, True, False]
    assert not largest_mask(score, 0.0).any()
    assert largest_mask(score, 1.0).all()


def pair():
    """A float network and its 2-bit copy, whose biases have moved."""
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 10, 3), nn.ReLU(), nn.Flatten(), nn.Linear(40, 20, bias=False))
    quantized = copy.deepcopy(plain)
    options = {"weight_quant": HAQWeightPerChannelFloat, "weight_bit_width": 2, "bias": True}
    quantized[0] = qnn.QuantConv2d(3, 10, 3, **options)
    quantized[3] = qnn.QuantLinear(40, 20, **options)
    with torch.no_grad():
        for index in (0, 3):
            quantized[index].weight.copy_(plain[index].weight)
            quantized[index].bias.normal_()
            quantized[index].weight_quant.init_tensor_quant()
            set_bits_(weight_quantizer(quantized[index]), 2)
            quantized[index].quant_weight()
    floats = {"conv": plain[0], "fc": plain[3]}
    return plain, quantized, floats, {"conv": quantized[0], "fc": quantized[3]}


IMAGES = torch.randn(2, 3, 4, 4, generator=seeded(1))


def mixed_by_hand(floats, layers, masks, coded):
    """The network computed from explicitly assembled weights and biases."""
    weights, biases = {}, {}
    for name, layer in layers.items():
        mask = masks[name]
        weights[name] = coded[name](layer.weight)[0].detach().clone()
        biases[name] = layer.bias.detach().clone()
        weights[name][mask] = floats[name].weight.detach()[mask]
        biases[name][mask] = 0.0 if floats[name].bias is None else floats[name].bias.detach()[mask]
    hidden = F.relu(F.conv2d(IMAGES, weights["conv"], biases["conv"]))
    return F.linear(hidden.flatten(1), weights["fc"], biases["fc"])


@pytest.mark.parametrize("learn_rounding", [False, True])
@pytest.mark.parametrize("choice", ["draw", "choose"])
def test_masked_channels_are_float_in_weight_and_bias(learn_rounding, choice):
    _, quantized, floats, layers = pair()
    with coded_weights(layers, learn_rounding=learn_rounding) as coded:
        channels = FloatChannels(layers, coded, floats)
        plain = quantized(IMAGES).detach()
        with channels.on():
            assert torch.equal(quantized(IMAGES), plain), "no mask yet"
        channels.draw(0.3, seeded(0)) if choice == "draw" else channels.choose(0.3)
        assert [int(mask.sum()) for mask in channels.masks.values()] == [3, 6]
        expected = mixed_by_hand(floats, layers, channels.masks, coded)
        with channels.on():
            torch.testing.assert_close(quantized(IMAGES), expected)
        assert not torch.allclose(plain, expected)
        assert torch.equal(quantized(IMAGES), plain), "off again"
        assert not any(part._forward_hooks for part in quantized.modules())
        with pytest.raises(RuntimeError), channels.on():
            raise RuntimeError
        assert torch.equal(quantized(IMAGES), plain)
        assert not any(part._forward_hooks for part in quantized.modules())


def test_every_channel_masked_is_the_float_network():
    plain, quantized, floats, layers = pair()
    with coded_weights(layers, learn_rounding=False) as coded:
        channels = FloatChannels(layers, coded, floats)
        channels.draw(1.0, seeded(0))
        with channels.on():
            torch.testing.assert_close(quantized(IMAGES), plain(IMAGES))


def test_gradients_reach_only_what_stays_quantized():
    _, quantized, floats, layers = pair()
    with coded_weights(layers, learn_rounding=True) as coded:
        channels = FloatChannels(layers, coded, floats)
        channels.draw(0.3, seeded(0))
        with channels.on():
            quantized(IMAGES).square().sum().backward()
        for name in layers:
            mask = channels.masks[name]
            moved = coded[name].rounding.grad.flatten(1).abs().sum(1)
            assert (moved[mask] == 0).all() and (moved[~mask] > 0).any()
            assert (coded[name].gain.grad.flatten()[mask] == 0).all()


def test_fixed_masks_choose_the_largest_error():
    _, _, floats, layers = pair()
    with torch.no_grad():
        floats["conv"].weight[[2, 5, 7]] += 3.0  # far from what was quantized
    with coded_weights(layers, learn_rounding=False) as coded:
        channels = FloatChannels(layers, coded, floats)
        channels.choose(0.3)
        assert channels.masks["conv"].nonzero().flatten().tolist() == [2, 5, 7]
        error = (coded["fc"](layers["fc"].weight)[0] - floats["fc"].weight).square().sum(1)
        chosen = channels.masks["fc"]
        assert error[chosen].min() >= error[~chosen].max()


def test_it_works_on_plain_quantizers_too_and_gives_their_own_mask_back():
    """Where widths are learned jointly, the layers' quantizers themselves carry the masks."""
    plain, quantized, floats, layers = pair()
    quantizers = {name: weight_quantizer(layer) for name, layer in layers.items()}
    quantizers["conv"].float_mask[4] = True  # a channel that M_q^v keeps for good
    before = quantized(IMAGES)
    channels = FloatChannels(layers, quantizers, floats)
    channels.draw(1.0, seeded(0))
    with channels.on():
        torch.testing.assert_close(quantized(IMAGES), plain(IMAGES))
    assert torch.equal(quantized(IMAGES), before)
    assert quantizers["conv"].float_mask.flatten().nonzero().flatten().tolist() == [4]
    assert "float_mask" in dict(quantizers["conv"].named_buffers())
