"""The table of layer kinds that are quantized. A new kind is one entry, made here or from outside:

    register_layer_kind(convolution_kind(nn.Conv3d, qnn.QuantConv3d, dims=3))

A kind that no present export module represents also needs a builder under its ``export_modules`` name in
``export.onnx_modules.ONNX_MODULES`` and the like, for each format that shall hold it.
"""

from typing import Any

from torch import nn

from brevitas_defakeq.nn.convolution import CONV1D, CONV2D
from brevitas_defakeq.nn.layer_kind import LayerKind
from brevitas_defakeq.nn.linear import LINEAR
from brevitas_defakeq.nn.transposed_convolution import TRANSPOSED_CONV2D

#: Float or quantized class -> its kind.
_KINDS: dict[type[nn.Module], LayerKind[Any]] = {}


def register_layer_kind(kind: LayerKind[Any]) -> None:
    """Quantize layers of ``kind.float_class`` from now on; a class known before gets the new kind."""
    _KINDS[kind.float_class] = _KINDS[kind.quantized_class] = kind


def find_layer_kind(module: nn.Module) -> LayerKind[Any] | None:
    """The kind of a float or quantized layer, by the nearest of its classes; None for any other module."""
    return next((_KINDS[cls] for cls in type(module).__mro__ if cls in _KINDS), None)


def layer_kind_of(layer: nn.Module) -> LayerKind[Any]:
    """The kind of a layer that is known to have one.

    >>> layer_kind_of(nn.Linear(2, 3)).name
    'Linear'
    """
    kind = find_layer_kind(layer)
    if kind is None:
        raise TypeError(f"{type(layer).__name__} is of no registered layer kind")
    return kind


def weight_and_bias(layer: nn.Module) -> tuple[nn.Parameter, nn.Parameter | None]:
    """The weight [C_out, ...] and the bias [C_out], if there is one, of a layer that has a kind."""
    bias = layer.bias
    return layer.get_parameter("weight"), bias if isinstance(bias, nn.Parameter) else None


def product_functions() -> frozenset[str]:
    """Names of the torch functions that compute the registered kinds' products."""
    return frozenset().union(*(kind.functions for kind in _KINDS.values()))


def channel_dim(layer: nn.Module) -> int:
    """Dimension of the layer's output that holds the channels: -1 for a Linear, 1 for a convolution."""
    return layer_kind_of(layer).channel_dim


for _kind in (LINEAR, CONV1D, CONV2D, TRANSPOSED_CONV2D):
    register_layer_kind(_kind)
