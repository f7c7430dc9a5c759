"""The table of layer kinds: what it knows of a layer holds for float, quantized and derived classes."""

import brevitas.nn as qnn
import pytest
import torch
from torch import nn

from brevitas_defakeq.nn.layer_kinds import channel_dim, find_layer_kind, layer_kind_of
from brevitas_defakeq.nn.static_padding import StaticPadConv2d, StaticPadQuantConv2d

LAYERS = {
    "linear": (nn.Linear(4, 6), (3, 4)),
    "linear on tokens": (nn.Linear(4, 6), (3, 5, 4)),
    "conv1d": (nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2), (3, 4, 7)),
    "conv2d": (nn.Conv2d(4, 6, 3, padding="same", dilation=2), (3, 4, 7, 6)),
    "reflected": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), (3, 4, 7, 6)),
    "static": (StaticPadConv2d(4, 6, 3), (3, 4, 7, 6)),
}


@pytest.mark.parametrize("case", LAYERS)
def test_the_operation_is_the_layers_own(case):
    layer, shape = LAYERS[case]
    if isinstance(layer, StaticPadConv2d):
        layer.static_padding = (0, 1, 2, 3)
    inputs = torch.randn(shape)
    kind = layer_kind_of(layer)
    output = layer(inputs)
    torch.testing.assert_close(kind.operation(layer, inputs, layer.weight, layer.bias), output)
    assert output.shape[channel_dim(layer)] == len(layer.weight)


@pytest.mark.parametrize("case", LAYERS)
def test_the_quantized_layer_is_of_the_same_kind_and_geometry(case):
    layer, shape = LAYERS[case]
    kind = layer_kind_of(layer)
    built = kind.build_quantized(layer, {"weight_quant": None, "bias": True})
    assert isinstance(built, kind.quantized_class)
    assert layer_kind_of(built) is kind
    built.load_state_dict(layer.state_dict())
    inputs = torch.randn(shape)
    torch.testing.assert_close(built(inputs), layer(inputs))


@pytest.mark.parametrize("case", LAYERS)
def test_the_weight_times_the_windows_is_the_output(case):
    layer, shape = LAYERS[case]
    kind, inputs = layer_kind_of(layer), torch.randn(shape)
    outputs = kind.operation(layer, inputs, layer.weight, None).movedim(kind.channel_dim, 0)
    windows = kind.windows(layer, inputs)
    weight = layer.weight.flatten(1).unflatten(0, (len(windows), -1))
    torch.testing.assert_close((weight @ windows).flatten(0, 1), outputs.flatten(1), rtol=1e-4, atol=1e-5)


def test_kinds_are_found_by_the_nearest_class():
    assert find_layer_kind(StaticPadQuantConv2d(2, 3, 1)).name == "Conv2d"
    assert find_layer_kind(qnn.QuantLinear(2, 3, bias=True)).name == "Linear"
    assert find_layer_kind(nn.ConvTranspose2d(2, 3, 1)) is None
    with pytest.raises(TypeError, match="ConvTranspose2d is of no registered layer kind"):
        layer_kind_of(nn.ConvTranspose2d(2, 3, 1))


def test_channel_dims():
    assert channel_dim(nn.Linear(2, 3)) == -1
    assert channel_dim(nn.Conv2d(2, 3, 1)) == channel_dim(nn.Conv1d(2, 3, 1)) == 1
