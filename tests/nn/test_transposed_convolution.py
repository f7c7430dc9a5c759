"""Transposed convolutions with output channels first: torch's outputs, and energies by brute force."""

import pytest
import torch
from torch import nn

from brevitas_defakeq.nn.layer_kinds import find_layer_kind, layer_kind_of
from brevitas_defakeq.nn.transposed_convolution import TRANSPOSED_CONV2D, TransposedConv2d, exchanged

GEOMETRIES = {
    "upsampling": {"kernel_size": 4, "stride": 2, "padding": 1},
    "output padding": {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1},
    "cut off": {"kernel_size": 5, "stride": 1, "padding": 3},
    "dilated": {"kernel_size": (3, 2), "stride": (3, 1), "dilation": 2, "padding": (2, 0)},
    "groups": {"kernel_size": 3, "stride": 2, "groups": 2},
    "depthwise": {"kernel_size": 4, "stride": 2, "padding": 1, "groups": 4},
}


def layers(case):
    torch.manual_seed(0)
    made = nn.ConvTranspose2d(4, 8, **GEOMETRIES[case])
    return made, TransposedConv2d.from_float(made)


@pytest.mark.parametrize("case", GEOMETRIES)
def test_the_outputs_are_torchs(case):
    made, ours = layers(case)
    inputs = torch.randn(2, 4, 6, 5)
    torch.testing.assert_close(ours(inputs), made(inputs))
    assert ours.weight.shape[0] == 8
    assert torch.equal(exchanged(ours.weight, made.groups), made.weight)


@pytest.mark.parametrize("case", GEOMETRIES)
def test_each_output_channel_has_a_row(case):
    """A channel's row moves that channel's output, and no other."""
    _, ours = layers(case)
    inputs = torch.randn(2, 4, 6, 5)
    before = ours(inputs)
    with torch.no_grad():
        ours.weight[5] += 1
    moved = (ours(inputs) - before).abs().sum((0, 2, 3)) > 0
    assert moved.nonzero().flatten().tolist() == [5]


@pytest.mark.parametrize("case", GEOMETRIES)
def test_energy_is_what_each_weight_multiplies(case):
    """With a single weight 1 a channel's output holds just the inputs that the weight multiplies."""
    _, ours = layers(case)
    inputs = torch.randn(2, 4, 6, 5)
    energies = TRANSPOSED_CONV2D.sum_of_squares(ours, inputs)
    outputs, per_group = 8, 8 // ours.groups
    assert energies.shape == (ours.groups, ours.weight[0].numel())
    ours.bias = None
    for group in range(ours.groups):
        for element in range(energies.shape[1]):
            weight = torch.zeros(outputs, energies.shape[1])
            weight[group * per_group, element] = 1
            ours.weight = nn.Parameter(weight.view_as(ours.weight))
            torch.testing.assert_close(energies[group, element], ours(inputs).square().sum())


@pytest.mark.parametrize("case", GEOMETRIES)
def test_the_weight_times_the_windows_is_the_output(case):
    _, ours = layers(case)
    ours.bias = None
    inputs = torch.randn(2, 4, 6, 5)
    windows = TRANSPOSED_CONV2D.windows(ours, inputs)
    weight = ours.weight.flatten(1).unflatten(0, (ours.groups, -1))
    found = (weight @ windows).flatten(0, 1)
    torch.testing.assert_close(found, ours(inputs).movedim(1, 0).flatten(1), rtol=1e-4, atol=1e-5)


def test_the_quantized_layer_is_of_the_same_kind():
    made, ours = layers("groups")
    built = TRANSPOSED_CONV2D.build_quantized(ours, {"weight_quant": None, "bias": True})
    assert layer_kind_of(built) is layer_kind_of(ours) is TRANSPOSED_CONV2D
    assert find_layer_kind(made) is None, "until it is laid out as every other layer"
    built.load_state_dict(ours.state_dict())
    inputs = torch.randn(2, 4, 6, 5)
    torch.testing.assert_close(built(inputs), made(inputs))
