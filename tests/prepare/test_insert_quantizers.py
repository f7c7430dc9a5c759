"""Inserted layers: same weights, the scheme's quantizers, and a bias to write into."""

import brevitas.nn as qnn
import pytest
import torch
from nominal_width import nominal_bits
from torch import nn

from brevitas_defakeq.nn.static_padding import StaticPadConv2d, StaticPadQuantConv2d
from brevitas_defakeq.nn.strided_pointwise import TrainableQuantConv1d, TrainableQuantConv2d
from brevitas_defakeq.prepare.insert_quantizers import QuantScheme, quantize_layer
from brevitas_defakeq.quant.partial_float import weight_quantizer

LAYERS = {
    "linear": (lambda: nn.Linear(6, 4, bias=False), qnn.QuantLinear, (2, 6)),
    "conv1d": (lambda: nn.Conv1d(6, 4, 3, stride=2, groups=2), TrainableQuantConv1d, (2, 6, 9)),
    "conv2d": (
        lambda: nn.Conv2d(6, 4, (3, 1), padding=(1, 0), dilation=2),
        TrainableQuantConv2d,
        (2, 6, 7, 7),
    ),
    "static": (lambda: StaticPadConv2d(6, 4, 3, stride=2), StaticPadQuantConv2d, (2, 6, 8, 8)),
}  # fmt: skip


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_keeps_its_function(kind, symmetric):
    make, cls, shape = LAYERS[kind]
    torch.manual_seed(0)
    layer = make().eval()
    if kind == "static":
        layer.static_padding = (0, 1, 0, 1)
    weight = layer.weight.detach().clone()
    made = quantize_layer(layer, QuantScheme((2, 4, 8), None, symmetric), {})
    assert isinstance(made, cls)
    assert not made.training
    assert torch.equal(made.weight, layer.weight)
    assert made.bias is not None and (layer.bias is not None or not made.bias.any())
    assert nominal_bits(weight_quantizer(made)) == 8
    assert weight_quantizer(made).symmetric == symmetric
    x = torch.randn(shape)
    torch.testing.assert_close(made(x), layer(x), atol=0.03, rtol=0.03)
    with torch.no_grad():
        made.weight.add_(1)
        made.bias.add_(1)
    assert torch.equal(layer.weight, weight), "nothing is shared with the float layer"


def test_candidates_include_the_ternary_width():
    made = quantize_layer(nn.Linear(6, 4), QuantScheme((1.6, 2), None), {})
    assert nominal_bits(weight_quantizer(made)) == 2
