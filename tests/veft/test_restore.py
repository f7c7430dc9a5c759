"""M_q^v: the channels whose output suffers most get their float weights back."""

import copy

import brevitas.nn as qnn
import torch
from torch import nn

from brevitas_defakeq.haq.importance import channel_energies
from brevitas_defakeq.prepare.insert_quantizers import QuantScheme, quantize_layer
from brevitas_defakeq.quant.bit_width import set_bits_
from brevitas_defakeq.quant.partial_float import weight_quantizer
from brevitas_defakeq.veft.restore import restore_channels_


def pair():
    torch.manual_seed(0)
    plain = nn.Sequential(
        nn.Conv2d(4, 8, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(32, 10, bias=False)
    )
    quantized = copy.deepcopy(plain)
    for index in (0, 3):
        quantized[index] = quantize_layer(plain[index], QuantScheme((2, 8), None), {})
        set_bits_(weight_quantizer(quantized[index]), 8)
        quantized[index].quant_weight()
    references = {"conv": plain[0], "fc": plain[3]}
    images = torch.randn(6, 4, 4, 4)
    energies = channel_energies(plain, references, [images])
    return plain, quantized, references, {"conv": quantized[0], "fc": quantized[3]}, energies, images


def restored(layers):
    return {
        name: weight_quantizer(layer).float_mask.flatten().nonzero().flatten().tolist()
        for name, layer in layers.items()
    }


def spoil(layer, channel, amount):
    """Add an error to one channel's weight and bias."""
    with torch.no_grad():
        layer.weight[channel] += amount
        layer.bias[channel] += 1.0
    weight_quantizer(layer).search_range_(layer.weight)


def test_the_worst_channels_are_restored_exactly():
    plain, quantized, references, layers, energies, images = pair()
    spoil(layers["conv"], 5, 0.5)
    spoil(layers["fc"], 2, 0.2)
    total = 8 * 18 + 10 * 32
    restore_channels_(layers, references, energies, (18 + 32) / total + 1e-6)
    assert restored(layers) == {"conv": [5], "fc": [2]}
    assert torch.equal(layers["conv"].quant_weight().value[5], plain[0].weight[5])
    assert torch.equal(layers["fc"].quant_weight().value[2], plain[3].weight[2])
    assert layers["conv"].bias[5] == plain[0].bias[5]
    assert layers["fc"].bias[2] == 0.0
    assert torch.equal(plain[0].weight, references["conv"].weight)
    change = (quantized(images) - plain(images)).abs().max() / plain(images).abs().max()
    assert change < 0.02, "what is left is 8-bit rounding"


def test_error_counts_as_the_output_sees_it():
    """The same weight error in front of a silent input and a loud one: the loud one is restored."""
    plain = nn.Linear(2, 2)
    with torch.no_grad():
        plain.weight.copy_(torch.tensor([[1.0, 1.0], [1.0, 1.0]]))
    layer = quantize_layer(plain, QuantScheme((8,), None), {})
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.5, 1.0], [1.0, 1.4]]))  # channel 0 errs more in weight only
    weight_quantizer(layer).search_range_(layer.weight)
    energies = {"fc": torch.tensor([[0.01, 10.0]])}
    restore_channels_({"fc": layer}, {"fc": plain}, energies, 0.5)
    assert restored({"fc": layer}) == {"fc": [1]}


def test_never_more_than_the_fraction_and_none_at_zero():
    _, _, references, layers, energies, _ = pair()
    restore_channels_(layers, references, energies, 0.0)
    assert restored(layers) == {"conv": [], "fc": []}
    restore_channels_(layers, references, energies, 0.2)
    taken = restored(layers)
    weights = len(taken["conv"]) * 18 + len(taken["fc"]) * 32
    assert 0 < weights <= 0.2 * (8 * 18 + 10 * 32)


def test_everything_restored_is_the_float_network():
    plain, quantized, references, layers, energies, images = pair()
    spoil(layers["conv"], 1, 0.3)
    restore_channels_(layers, references, energies, 1.0)
    torch.testing.assert_close(quantized(images), plain(images))
    assert isinstance(layers["conv"], qnn.QuantConv2d)
