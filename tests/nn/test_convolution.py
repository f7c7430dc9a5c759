"""Sums of squares and weight gradients of convolutions against plain references, in both memory layouts."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from brevitas_defakeq.nn.layer_kinds import layer_kind_of
from brevitas_defakeq.nn.strided_pointwise import TrainableQuantConv1d, TrainableQuantConv2d

LAYOUTS = (torch.contiguous_format, torch.channels_last)
GEOMETRIES = [
    (kernel, stride, padding, dilation)
    for kernel, stride, padding, dilation in itertools.product((1, 2, 3, 5), (1, 2, 3), (0, 2), (1, 2))
    if kernel > 1 or dilation == 1
]


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("channels", [(3, 16, 1), (8, 8, 2), (6, 6, 6)])
def test_sums_of_squares(channels, threads):
    before, after, groups = channels
    for (kernel, stride, padding, dilation), layout in itertools.product(GEOMETRIES, LAYOUTS):
        layer = nn.Conv2d(before, after, kernel, stride, padding, dilation, groups)
        inputs = torch.randn(2, before, 13, 16)
        windows = F.unfold(inputs.double(), kernel, dilation, padding, stride)
        wanted = windows.square().sum(dim=(0, 2)).reshape(groups, -1)
        found = layer_kind_of(layer).sum_of_squares(layer, inputs.contiguous(memory_format=layout))
        torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("channels", [3, 4, 6, 24])
@pytest.mark.parametrize("stride", [2, 3])
def test_weight_gradient_of_a_strided_pointwise_convolution(channels, stride, threads):
    layer = TrainableQuantConv2d(channels, 16, 1, stride, weight_quant=None, bias=False)
    wanted = nn.Conv2d(channels, 16, 1, stride, bias=False).double()
    wanted.weight.data.copy_(layer.weight)
    inputs = torch.randn(4, channels, 16, 16)
    channels_last = inputs.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        found, right = layer(channels_last), wanted(inputs.double())
    torch.testing.assert_close(found.double(), right, rtol=1e-4, atol=1e-5)
    layer(channels_last).square().sum().backward()
    wanted(inputs.double()).square().sum().backward()
    torch.testing.assert_close(layer.weight.grad.double(), wanted.weight.grad, rtol=1e-4, atol=1e-3)


def test_a_pointwise_convolution_in_one_dimension():
    layer = TrainableQuantConv1d(3, 4, 1, 2, weight_quant=None, bias=False)
    inputs = torch.randn(2, 3, 9)
    torch.testing.assert_close(layer(inputs), F.conv1d(inputs, layer.weight, None, 2))


def test_a_quantized_weight_that_carries_its_grid():
    layer = TrainableQuantConv2d(3, 4, 1, 2, weight_bit_width=8, bias=False)
    images = torch.randn(2, 3, 8, 8)
    found = layer(images)
    with torch.no_grad():
        torch.testing.assert_close(found.detach(), layer(images))
    found.sum().backward()
    assert layer.weight.grad.abs().max() > 0
