"""M_q or M_q^v as plain torch layers around torch's ``quantized_decomposed`` operators.

ExecuTorch, LiteRT and Core ML read that form. They want the input of a Linear and the weights put in
different ways, and a ``Style`` holds the classes for that.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.ao.quantization.fx._decomposed  # noqa: F401 registers the operators
from torch import Tensor, nn
from torch.nn import functional as F

from brevitas_defakeq.artifact import QuantizedDetector
from brevitas_defakeq.detectors.observer import Observer
from brevitas_defakeq.export.integer_weights import IntegerWeight, coded_weight
from brevitas_defakeq.export.replace_layers import byte_grid, conv_pads, quantized_by, replaced
from brevitas_defakeq.utils.errors import UserError

_OPERATORS = torch.ops.quantized_decomposed
_SIGNED = -127, 127, torch.int8


class IntegerActivation(nn.Module):
    """The run's own grid, on signed bytes."""

    def __init__(self, proxy: nn.Module, name: str) -> None:
        super().__init__()
        grid = byte_grid(proxy, name)
        low, high = grid.low - 128, grid.high - 128
        self.grid = grid.scale, grid.zero_point - 128, low, high, torch.int8

    def forward(self, x: Tensor) -> Tensor:
        codes = _OPERATORS.quantize_per_tensor.default(x, *self.grid)
        return _OPERATORS.dequantize_per_tensor.default(codes, *self.grid)


class RangeActivation(nn.Module):
    """The run's range without its steps, where the runtime's kernel takes steps of its own."""

    def __init__(self, proxy: nn.Module, name: str) -> None:
        super().__init__()
        self.range = byte_grid(proxy, name).range

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(*self.range)


class TokenActivation(nn.Module):
    """Signed bytes between each token's own extremes, for runtimes whose Linear takes nothing else."""

    def __init__(self, proxy: nn.Module, name: str) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        scale, zero_point = _OPERATORS.choose_qparams_per_token_asymmetric.default(x, torch.int8)
        grid = scale, zero_point, -128, 127, torch.int8
        codes = _OPERATORS.quantize_per_token.default(x, *grid)
        return _OPERATORS.dequantize_per_token.default(codes, *grid, torch.float32)


class Codes(nn.Module):
    """Whole numbers [C_out, ...] with a scale and a zero point for each output channel."""

    def __init__(self, codes: np.ndarray, scale: np.ndarray, zero_point: np.ndarray | None = None) -> None:
        super().__init__()
        zero_point = np.zeros(len(scale)) if zero_point is None else zero_point
        self.register_buffer("codes", torch.from_numpy(codes))
        self.register_buffer("scale", torch.from_numpy(scale))
        self.register_buffer("zero_point", torch.from_numpy(zero_point.astype(np.int64)))
        self.type = _SIGNED if codes.dtype == np.int8 else (0, 255, torch.uint8)

    def forward(self) -> Tensor:
        return _OPERATORS.dequantize_per_channel.default(
            self.codes, self.scale, self.zero_point, 0, *self.type
        )


def centred(weight: IntegerWeight) -> Codes:
    """codes - zero_point as signed bytes."""
    return Codes(*signed_codes(weight))


class Requantized(nn.Module):
    """Float weights that fall on their codes when they are quantized again: a converter folds that."""

    def __init__(self, weight: IntegerWeight) -> None:
        super().__init__()
        self.weight = Float(weight).weight
        scale = signed_codes(weight)[1]
        self.register_buffer("scale", torch.from_numpy(scale))
        self.register_buffer("zero_point", torch.zeros(len(scale), dtype=torch.int64))

    def forward(self) -> Tensor:
        grid = self.scale, self.zero_point, 0, *_SIGNED
        codes = _OPERATORS.quantize_per_channel.default(self.weight, *grid)
        return _OPERATORS.dequantize_per_channel.default(codes, *grid)


class Float(nn.Module):
    """scale x (codes - zero point), worked out here."""

    def __init__(self, weight: IntegerWeight) -> None:
        super().__init__()
        scale = weight.all_scales.reshape(weight.along_channels)
        whole = weight.joined(weight.centred.astype(np.float32), weight.restored.astype(np.float32)) * scale
        self.weight = nn.Parameter(torch.from_numpy(in_rows(weight, whole)), requires_grad=False)

    def forward(self) -> Tensor:
        return self.weight


@dataclass(frozen=True)
class Style:
    """How a runtime wants its integer layers."""

    linear_input: Callable[[nn.Module, str], nn.Module]
    linear_weight: Callable[[IntegerWeight], nn.Module]
    conv_weight: Callable[[IntegerWeight], nn.Module]


class IntegerLinear(nn.Module):
    def __init__(self, layer: nn.Module, activation: nn.Module, weight: nn.Module, output: nn.Module) -> None:
        super().__init__()
        self.activation, self.weight, self.output = activation, weight, output
        self.bias = nn.Parameter(layer.bias.detach().clone(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(F.linear(self.activation(x), self.weight(), self.bias))


class IntegerConvolution(nn.Module):
    """A convolution whose padding is even: ``evenly_padded`` has seen to that."""

    def __init__(
        self,
        layer: nn.Module,
        padding: list[int],
        activation: nn.Module,
        weight: nn.Module,
        output: nn.Module,
    ) -> None:
        super().__init__()
        self.activation, self.weight, self.output = activation, weight, output
        self.bias = nn.Parameter(layer.bias.detach().clone(), requires_grad=False)
        self.convolve = (F.conv1d, F.conv2d, F.conv3d)[len(padding) - 1]
        self.options = {
            "stride": layer.stride, "padding": padding, "dilation": layer.dilation, "groups": layer.groups
        }  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.convolve(self.activation(x), self.weight(), self.bias, **self.options))


def evenly_padded(layer: nn.Module, weight: IntegerWeight, name: str) -> tuple[list[int], IntegerWeight]:
    """Padding of each axis, and the weight with zeros around its kernel where the padding was uneven.

    Zeros before the input alone are zeros on both sides and a kernel that starts with as many: the same sums,
    without a padding operator, which XNNPACK's partitioner does not take between integers.
    """
    pads = conv_pads(layer, name)
    half = len(pads) // 2
    even, around = [], [(0, 0), (0, 0)]
    for begin, end, dilation in zip(pads[:half], pads[half:], layer.dilation, strict=True):
        both = max(begin, end)
        if (both - begin) % dilation or (both - end) % dilation:
            raise UserError(f"{name}: uneven padding of a dilated convolution has no form here")
        even.append(both)
        around.append(((both - begin) // dilation, (both - end) // dilation))
    centred = np.pad(weight.centred, around)
    codes = (centred + weight.zero_point.reshape(weight.along_channels)).astype(np.uint8)
    return even, replace(weight, codes=codes, restored=np.pad(weight.restored, around))


class Score(nn.Module):
    """One image [1, 3, H, W] -> its fake logit [1]."""

    def __init__(self, form: nn.Module, observer: Observer) -> None:
        super().__init__()
        self.form, self.read = form, observer.logit

    def forward(self, image: Tensor) -> Tensor:
        return self.read(self.form(image))


def integer_form(result: QuantizedDetector, network: nn.Module, style: Style) -> tuple[Score, dict]:
    """M_q or M_q^v in a runtime's style.

    A layer keeps float weights where its input is not quantized or no signed byte holds its codes (8-bit
    asymmetric layers: ``--target mobile`` chooses none).

    Returns:
        the form, and the codes of each layer by name.
    """
    weights: dict[str, IntegerWeight] = {}

    def layer(old: nn.Module, name: str) -> nn.Module:
        weight = coded_weight(old, result.bits[name])
        linear = old.weight.dim() == 2
        padding, weight = ([], weight) if linear else evenly_padded(old, weight, name)
        integer, weights[name] = old.input_quant.is_quant_enabled and weight.is_integer, weight
        output = quantized_by(old.output_quant, name, IntegerActivation)
        if linear:
            activation = quantized_by(
                old.input_quant, name, style.linear_input if integer else IntegerActivation
            )
            return IntegerLinear(old, activation, (style.linear_weight if integer else Float)(weight), output)
        activation = quantized_by(old.input_quant, name, IntegerActivation)
        kernel = (style.conv_weight if integer else Float)(weight)
        return IntegerConvolution(old, padding, activation, kernel, output)

    return Score(replaced(network, result.plan, layer, IntegerActivation), result.observer).eval(), weights


def signed_codes(weight: IntegerWeight) -> tuple[np.ndarray, np.ndarray]:
    """int8 codes [C_out, ...] of an integer layer and float32 scales [C_out].

    A convolution's codes are multiplied by ``gain``, for its bias is added on the grid of the products.
    """
    gain = weight.gain if weight.codes.ndim > 2 else 1
    codes = weight.joined(gain * weight.centred, gain * weight.restored.astype(np.int32))
    return in_rows(weight, codes.astype(np.int8)), weight.all_scales / np.float32(gain)


def in_rows(weight: IntegerWeight, values: np.ndarray) -> np.ndarray:
    """Output channels first, as torch has them."""
    return np.ascontiguousarray(values.T if weight.axis == 1 else values)
