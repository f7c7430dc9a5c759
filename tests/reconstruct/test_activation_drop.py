"""Activations that pass their quantizers in float during learning: how many, which, and only then."""

import pytest
import torch

from brevitas_defakeq.quant.activation_quantizer import activation_proxies
from brevitas_defakeq.quant.fused import fused_quantizers
from brevitas_defakeq.reconstruct.activation_drop import dropped_activations


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def quantized(begun):
    """M_q's first convolution with 2-bit inputs, and what it reads."""
    job, model = begun(3, activation_bits=2)
    return model.stem[0], job.images[:8]


@torch.no_grad()
def inputs_of(layer, images, probability, seed=0):
    """What the layer's quantizer gives."""
    with dropped_activations(layer, probability, generator(seed)):
        found = layer.input_quant(images)
    return getattr(found, "value", found)


def test_each_value_is_the_quantized_or_the_float_one(quantized):
    layer, images = quantized
    rounded = inputs_of(layer, images, 0.0)
    assert len(rounded.unique()) <= 4
    mixed = inputs_of(layer, images, 0.25)
    kept = mixed == rounded
    assert torch.equal(mixed[~kept], images[~kept])
    clear = rounded != images
    assert float((~kept)[clear].float().mean()) == pytest.approx(0.25, abs=0.03)
    assert torch.equal(inputs_of(layer, images, 1.0), images)


def test_a_seed_draws_the_same_values_in_any_layout(quantized):
    layer, images = quantized
    first = inputs_of(layer, images, 0.5, seed=3)
    assert torch.equal(first, inputs_of(layer, images.contiguous(), 0.5, seed=3))
    assert torch.equal(
        first, inputs_of(layer, images.contiguous(memory_format=torch.channels_last), 0.5, seed=3)
    )
    assert not torch.equal(first, inputs_of(layer, images, 0.5, seed=4))


def test_fused_quantizers_drop_the_same_values(quantized):
    layer, images = quantized
    stock = inputs_of(layer, images, 0.5)
    with fused_quantizers(layer):
        assert torch.equal(inputs_of(layer, images, 0.5), stock)


def test_nothing_is_drawn_without_it_and_nothing_stays_attached(begun):
    job, model = begun(3)
    source, block = generator(), model.block
    before = source.get_state()
    with dropped_activations(block, 0.0, source), torch.no_grad():
        block(torch.zeros(1, 16, 16))
    assert torch.equal(source.get_state(), before)
    with dropped_activations(block, 0.5, source):
        pass
    quantizers = [
        proxy.fused_activation_quant_proxy.tensor_quant for proxy in activation_proxies(block).values()
    ]
    assert quantizers and not any(one._forward_hooks for one in quantizers)


@pytest.mark.parametrize("quantizer", ["uniform", "log"])
def test_learning_with_it_repeats_by_seed_and_differs_from_learning_without(begun, quantizer):
    found = {}
    for name, drop, seed in (("first", 0.5, 0), ("again", 0.5, 0), ("none", 0.0, 0), ("other seed", 0.5, 1)):
        job, model = begun(
            3, activation_bits=3, activation_quantizer=quantizer, seed=seed,
            reconstruction__activation_drop=drop, reconstruction__iterations=4,
        )  # fmt: skip
        before = torch.get_rng_state()
        job.reconstruct_(model)
        assert torch.equal(torch.get_rng_state(), before)
        found[name] = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    assert torch.equal(found["first"], found["again"])
    assert not torch.equal(found["first"], found["none"])
    assert not torch.equal(found["first"], found["other seed"])
