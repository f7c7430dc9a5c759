"""The layer kinds of convolutions: zero or other padding, strides, dilation and groups."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

import torch
from timm.layers.padding import pad_same_arg
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn import grad
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import fusion

from brevitas_defakeq.nn.layer_kind import LayerKind, Sides
from brevitas_defakeq.nn.static_padding import StaticPad, StaticPadQuantConv2d, padded, with_static_padding
from brevitas_defakeq.nn.strided_pointwise import TrainableQuantConv1d, TrainableQuantConv2d, picked
from brevitas_defakeq.nn.windows import windows

FloatConvolution = TypeVar("FloatConvolution", bound=_ConvNd)
QuantizedClass = TypeVar("QuantizedClass", bound=nn.Module)
#: By number of spatial dimensions: the class that float and quantized layers derive from.
_CLASSES = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
#: By number of spatial dimensions: the convolution and the gradient of its weight.
_FUNCTIONS = {
    1: (F.conv1d, grad.conv1d_weight),
    2: (F.conv2d, grad.conv2d_weight),
    3: (F.conv3d, grad.conv3d_weight),
}


def convolution_kind(
    float_class: type[FloatConvolution], quantized_class: type[nn.Module], dims: int
) -> LayerKind[FloatConvolution]:
    """The kind of a convolution over ``dims`` spatial dimensions (1 to 3).

    Raises TypeError where the classes are not derived from torch's convolution over so many dimensions.
    """
    for cls in (float_class, quantized_class):
        if not issubclass(cls, _CLASSES.get(dims, ())):
            raise TypeError(f"{cls.__name__} is no convolution over {dims} dimensions; give dims from 1 to 3")

    def build_quantized(layer: FloatConvolution, options: Mapping[str, object]) -> nn.Module:
        return _built(quantized_class, layer, options)

    return LayerKind[FloatConvolution](
        name=float_class.__name__, float_class=float_class, quantized_class=quantized_class,
        functions=frozenset({f"conv{dims}d"}), channel_dim=1, operation=_operation,
        build_quantized=build_quantized, sum_of_squares=_sum_of_squares,
        windows=_windows, fuse_batch_norm=fusion.fuse_conv_bn_weights, export_modules="convolution",
        integer_output=True,
    )  # fmt: skip


def _operation(layer: _ConvNd, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return layer._conv_forward(padded(layer, inputs), weight, bias)


def _with_sides(layer: _ConvNd, inputs: Tensor) -> Tensor:
    """The inputs with all that the layer pads them by."""
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return F.pad(padded(layer, inputs), layer._reversed_padding_repeated_twice, mode=mode)


def _windows(layer: _ConvNd, inputs: Tensor) -> Tensor:
    """[N, C, ...] -> [groups, C_in/groups * kernel, N * positions]."""
    sides = _with_sides(layer, inputs)
    return windows(sides, layer.kernel_size, layer.stride, layer.dilation, layer.groups)


def _sum_of_squares(layer: _ConvNd, inputs: Tensor) -> Tensor:
    """[N, C, ...] -> [groups, C_in/groups * kernel]: each kernel position reads the input shifted."""
    inputs = _with_sides(layer, inputs)
    stride: tuple[int, ...] | int = layer.stride
    if all(size == 1 for size in layer.kernel_size):  # see `nn.strided_pointwise`
        inputs, stride = picked(inputs, layer.stride), 1
    convolve, weight_gradient = _FUNCTIONS[layer.weight.dim() - 2]
    one_filter = layer.weight.new_zeros(layer.groups, *layer.weight.shape[1:])
    geometry = (stride, 0, layer.dilation, layer.groups)
    ones = torch.ones_like(convolve(inputs, one_filter, None, *geometry))
    # The weight gradient of a one-filter convolution with all-ones output gradient sums each window.
    return weight_gradient(inputs.square(), one_filter.shape, ones, *geometry).flatten(1)


def _built(cls: type[QuantizedClass], layer: _ConvNd, options: Mapping[str, object]) -> QuantizedClass:
    return cls(
        layer.in_channels, layer.out_channels, layer.kernel_size, stride=layer.stride, padding=layer.padding,
        dilation=layer.dilation, groups=layer.groups, padding_mode=layer.padding_mode, **options,
    )  # fmt: skip


def _build_quantized_2d(layer: nn.Conv2d, options: Mapping[str, object]) -> nn.Module:
    if not isinstance(layer, StaticPad):
        return _built(TrainableQuantConv2d, layer, options)
    new = _built(StaticPadQuantConv2d, layer, options)
    new.static_padding = layer.static_padding
    return new


def _same_padding(layer: nn.Conv2d, image: Tensor) -> Sides:
    """TensorFlow's 'same' padding of a convolution for an image [N, C, H, W]."""
    sides = pad_same_arg(
        list(image.shape[-2:]), list(layer.kernel_size), list(layer.stride), list(layer.dilation)
    )
    left, right, top, bottom = (int(side) for side in sides)
    return left, right, top, bottom


CONV1D = convolution_kind(nn.Conv1d, TrainableQuantConv1d, 1)
CONV2D = replace(
    convolution_kind(nn.Conv2d, TrainableQuantConv2d, 2),
    build_quantized=_build_quantized_2d, same_padding=_same_padding, with_padding=with_static_padding,
)  # fmt: skip
