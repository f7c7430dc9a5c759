"""M_q or M_q^v as plain torch layers around torch's ``quantized_decomposed`` operators.

ExecuTorch, LiteRT and Core ML read these modules. They want the input of a Linear and the weights put in
different ways: ``RuntimeLayers`` holds the classes for that.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from brevitas.nn.quant_layer import QuantWeightBiasInputOutputLayer as QuantLayer
from torch import Tensor, nn
from torch.nn import functional as F

from brevitas_defakeq.artifact import QuantizedDetector
from brevitas_defakeq.detectors.observer import Observer
from brevitas_defakeq.export.convolution_geometry import OwnPadding, conv_pads
from brevitas_defakeq.export.integer_activations import IntegerActivation
from brevitas_defakeq.export.integer_weights import IntegerWeight, integer_weight
from brevitas_defakeq.export.replace_layers import (
    export_module_builder,
    quantized_by,
    with_export_modules,
)
from brevitas_defakeq.export.weight_modules import FloatWeight
from brevitas_defakeq.nn.transposed_convolution import exchanged
from brevitas_defakeq.utils.errors import UserError

_CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


@dataclass(frozen=True)
class RuntimeLayers:
    """Export modules for inputs and weights of the layers that a runtime computes with integers."""

    linear_input: Callable[[nn.Module, str], nn.Module]
    linear_weight: Callable[[IntegerWeight], nn.Module]
    conv_weight: Callable[[IntegerWeight], nn.Module]


class IntegerLinear(nn.Module):
    """``F.linear`` of a quantized input with a weight that is a module."""

    def __init__(self, bias: Tensor, activation: nn.Module, weight: nn.Module, output: nn.Module) -> None:
        super().__init__()
        self.activation, self.coded, self.output = activation, weight, output
        self.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(F.linear(self.activation(x), self.coded(), self.bias))


class IntegerConvolution(nn.Module):
    """A convolution whose padding is even: ``evenly_padded`` has seen to that."""

    def __init__(
        self,
        layer: QuantLayer,
        padding: list[int],
        activation: nn.Module,
        weight: nn.Module,
        output: nn.Module,
    ) -> None:
        super().__init__()
        self.activation, self.coded, self.output = activation, weight, output
        self.bias = nn.Parameter(layer.bias.detach().clone(), requires_grad=False)
        self.convolve = _CONVOLVE[len(padding)]
        self.geometry, self.padded = (
            (layer.stride, padding, layer.dilation, layer.groups),
            OwnPadding.of(layer),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.padded(x))
        return self.output(self.convolve(x, self.coded(), self.bias, *self.geometry))


def evenly_padded(layer: QuantLayer, weight: IntegerWeight, name: str) -> tuple[list[int], IntegerWeight]:
    """Padding of each axis, and the weight with zeros around its kernel where the padding was uneven.

    Zeros before the input alone are zeros on both sides and a kernel that starts with as many: the same sums,
    without a padding operator, which XNNPACK's partitioner does not take between integers.
    """
    pads = conv_pads(layer)
    half = len(pads) // 2
    even, around = [], [(0, 0), (0, 0)]
    for begin, end, dilation in zip(pads[:half], pads[half:], layer.dilation, strict=True):
        both = max(begin, end)
        if (both - begin) % dilation or (both - end) % dilation:
            raise UserError(f"{name}: uneven padding of a dilated convolution cannot be exported")
        even.append(both)
        around.append(((both - begin) // dilation, (both - end) // dilation))
    centred = np.pad(weight.centred, around)
    codes = (centred + weight.zero_point.reshape(weight.along_channels)).astype(np.uint8)
    return even, replace(weight, codes=codes, restored=np.pad(weight.restored, around))


def has_integer_kernel(layer: QuantLayer, weight: IntegerWeight) -> bool:
    """Whether the input is quantized and signed bytes hold the codes.

    No signed byte holds those of 8-bit asymmetric layers: ``--target mobile`` chooses none.
    """
    return layer.input_quant.is_quant_enabled and weight.is_integer


def _linear(
    layer: QuantLayer, name: str, weight: IntegerWeight, runtime: RuntimeLayers
) -> tuple[nn.Module, IntegerWeight]:
    integer = has_integer_kernel(layer, weight)
    activation = quantized_by(layer.input_quant, name, runtime.linear_input if integer else IntegerActivation)
    output = quantized_by(layer.output_quant, name, IntegerActivation)
    made = (runtime.linear_weight if integer else FloatWeight)(weight)
    return IntegerLinear(layer.bias, activation, made, output), weight


def _convolution(
    layer: QuantLayer, name: str, weight: IntegerWeight, runtime: RuntimeLayers
) -> tuple[nn.Module, IntegerWeight]:
    padding, weight = evenly_padded(layer, weight, name)
    activation = quantized_by(layer.input_quant, name, IntegerActivation)
    output = quantized_by(layer.output_quant, name, IntegerActivation)
    made = (runtime.conv_weight if has_integer_kernel(layer, weight) else FloatWeight)(weight)
    return IntegerConvolution(layer, padding, activation, made, output), weight


class IntegerTransposedConvolution(nn.Module):
    """A transposed convolution of an input on bytes, with float weights."""

    def __init__(self, layer: QuantLayer, name: str, weight: IntegerWeight) -> None:
        super().__init__()
        self.activation = quantized_by(layer.input_quant, name, IntegerActivation)
        self.output = quantized_by(layer.output_quant, name, IntegerActivation)
        values = exchanged(FloatWeight(weight).weight.detach(), layer.groups)
        self.weight = nn.Parameter(values, requires_grad=False)
        self.bias = nn.Parameter(layer.bias.detach().clone(), requires_grad=False)
        self.geometry = layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation

    def forward(self, x: Tensor) -> Tensor:
        return self.output(F.conv_transpose2d(self.activation(x), self.weight, self.bias, *self.geometry))


def _transposed_convolution(
    layer: QuantLayer, name: str, weight: IntegerWeight, runtime: RuntimeLayers
) -> tuple[nn.Module, IntegerWeight]:
    return IntegerTransposedConvolution(layer, name, weight), weight


IntegerBuilder = Callable[[QuantLayer, str, IntegerWeight, RuntimeLayers], tuple[nn.Module, IntegerWeight]]
#: ``LayerKind.export_modules`` -> (quantized layer, its name, its weight, the runtime's classes) -> its
#: export module, and the weight in it. Layer kinds from outside add theirs.
INTEGER_MODULES: dict[str, IntegerBuilder] = {
    "linear": _linear,
    "convolution": _convolution,
    "transposed convolution": _transposed_convolution,
}


class LogitNetwork(nn.Module):
    """One image [1, 3, H, W] -> its fake logit [1]."""

    def __init__(self, network: nn.Module, observer: Observer) -> None:
        super().__init__()
        self.network, self.observer = network, observer

    def forward(self, image: Tensor) -> Tensor:
        return self.observer.logit(self.network(image))


def integer_export_modules(
    result: QuantizedDetector, network: nn.Module, runtime: RuntimeLayers
) -> tuple[LogitNetwork, dict[str, IntegerWeight]]:
    """M_q or M_q^v (``network``) as a runtime takes it, and the codes of each layer by name.

    A layer without an integer kernel keeps float weights.
    """
    weights: dict[str, IntegerWeight] = {}

    def build(layer: QuantLayer, name: str) -> nn.Module:
        builder = export_module_builder(INTEGER_MODULES, layer, name)
        made, weights[name] = builder(layer, name, integer_weight(layer, result.bits[name]), runtime)
        return made

    modules = with_export_modules(network, result.plan, build, IntegerActivation)
    return LogitNetwork(modules, result.observer).eval(), weights
