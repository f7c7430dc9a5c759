"""A quantized model as modules that ``torch.onnx`` can write: plain layers around ONNX's quantization nodes.

``torch.onnx.ops.symbolic`` puts ONNX nodes straight into the exported graph, so quantizers need no custom
operator and 'same' padding stays inside its convolution. The modules cannot be run in torch; the file is
checked against the quantized model instead.
"""

import math
from collections.abc import Callable, Sequence

import torch
from brevitas.nn.quant_layer import QuantWeightBiasInputOutputLayer as QuantLayer
from brevitas.proxy.runtime_quant import ActQuantProxyFromInjectorBase as ActivationProxy
from torch import Tensor, nn
from torch.onnx.ops import symbolic

from brevitas_defakeq.export.convolution_geometry import Attributes, ConvolutionGeometry, OwnPadding
from brevitas_defakeq.export.graph_writer import coded
from brevitas_defakeq.export.replace_layers import (
    byte_grid,
    export_module_builder,
    quantized_by,
    with_export_modules,
)
from brevitas_defakeq.nn.module_tree import modules_by_name, replace_module
from brevitas_defakeq.nn.transposed_convolution import exchanged
from brevitas_defakeq.prepare.plan import Plan
from brevitas_defakeq.prepare.trace import trace
from brevitas_defakeq.quant.partial_float import weight_quantizer

#: The ONNX operator set of every node that is written here: the newest that ONNX Runtime 1.16 runs.
ONNX_OPSET = 18


class OnnxActivation(nn.Module):
    """QuantizeLinear -> DequantizeLinear on unsigned bytes; narrower widths are clipped first."""

    scale: Tensor
    zero_point: Tensor

    def __init__(self, proxy: ActivationProxy, name: str) -> None:
        super().__init__()
        grid = byte_grid(proxy, name)
        self.register_buffer("scale", torch.tensor(grid.scale))
        self.register_buffer("zero_point", torch.tensor(grid.zero_point, dtype=torch.uint8))
        self.bounds = None if (grid.low, grid.high) == (0, 255) else grid.range

    def forward(self, x: Tensor, moved: Callable[[Tensor], Tensor] = lambda codes: codes) -> Tensor:
        """``moved``: what is done to the codes between the two nodes."""
        x = x if self.bounds is None else x.clamp(*self.bounds)
        codes = _node("QuantizeLinear", (x, self.scale, self.zero_point), x.shape, dtype=torch.uint8)
        codes = moved(codes)
        return _node("DequantizeLinear", (codes, self.scale, self.zero_point), codes.shape)


class OnnxLinear(nn.Module):
    """MatMul and Add: the bias in the shape [1, .., N] that ONNX Runtime does not take for a Gemm's."""

    def __init__(self, layer: QuantLayer, name: str, rank: int) -> None:
        super().__init__()
        self.activation = quantized_by(layer.input_quant, name, OnnxActivation)
        self.output = quantized_by(layer.output_quant, name, OnnxActivation)
        self.weight = nn.Parameter(rounded_weight(layer).t().contiguous(), requires_grad=False)  # [in, out]
        self.bias = nn.Parameter(layer.bias.detach().clone().view(*[1] * (rank - 1), -1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(torch.matmul(self.activation(x), coded(self.weight)) + self.bias)


class OnnxConvolution(nn.Module):
    """Conv with the fixed, possibly uneven padding as its own attribute, or behind a padding of bytes."""

    pads: Tensor

    def __init__(self, layer: QuantLayer, name: str, rank: int) -> None:
        super().__init__()
        self.activation = quantized_by(layer.input_quant, name, OnnxActivation)
        self.output = quantized_by(layer.output_quant, name, OnnxActivation)
        self.weight = nn.Parameter(rounded_weight(layer), requires_grad=False)
        self.bias = nn.Parameter(layer.bias.detach().clone(), requires_grad=False)
        self.geometry, self.padding = ConvolutionGeometry.of(layer), OwnPadding.of(layer)
        self.register_buffer("pads", torch.tensor(self.padding.pads))

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.activation, nn.Identity):
            x = self.padded(x)
        else:
            x = self.activation(x, self.padded)
        shape = (x.shape[0], self.weight.shape[0], *self.geometry.output_sides(x.shape[2:]))
        inputs = (x, coded(self.weight), self.bias)
        return self.output(_node("Conv", inputs, shape, self.geometry.attributes))

    def padded(self, x: Tensor) -> Tensor:
        """``x`` or its codes with the padding that is not the node's own."""
        return padded_by_node(x, self.padding, self.pads, ONNX_OPSET)


def padded_by_node(x: Tensor, padding: OwnPadding, pads: Tensor, opset: int) -> Tensor:
    """A ``Pad`` node where one does it; torch's operators otherwise."""
    if not padding.is_pad_node:
        return padding(x)
    mode = {"reflect": "reflect", "replicate": "edge"}[padding.mode]
    shape = padding.padded_shape(x.shape)
    return symbolic("Pad", (x, pads), {"mode": mode}, dtype=x.dtype, shape=shape, version=opset)


class OnnxTransposedConvolution(nn.Module):
    """ConvTranspose, whose weight is [C_in, C_out/groups, kh, kw]."""

    def __init__(self, layer: QuantLayer, name: str, rank: int) -> None:
        super().__init__()
        self.activation = quantized_by(layer.input_quant, name, OnnxActivation)
        self.output = quantized_by(layer.output_quant, name, OnnxActivation)
        self.weight = nn.Parameter(exchanged(rounded_weight(layer), layer.groups), requires_grad=False)
        self.bias = nn.Parameter(layer.bias.detach().clone(), requires_grad=False)
        self.geometry, self.added = ConvolutionGeometry.of(layer), list(layer.output_padding)

    def forward(self, x: Tensor) -> Tensor:
        sides = self.geometry.sides_of_transposed(x.shape[2:], self.added)
        attributes = {**self.geometry.attributes, "output_padding": self.added}
        inputs = (self.activation(x), coded(self.weight), self.bias)
        shape = (x.shape[0], len(self.bias), *sides)
        return self.output(_node("ConvTranspose", inputs, shape, attributes))


#: ``LayerKind.export_modules`` -> (quantized layer, its name, number of axes of its input) -> its export
#: module, whose ``weight`` has the output channels on ``LayerKind.file_axis``. Layer kinds from outside add
#: theirs.
ONNX_MODULES: dict[str, Callable[[QuantLayer, str, int], nn.Module]] = {
    "linear": OnnxLinear,
    "convolution": OnnxConvolution,
    "transposed convolution": OnnxTransposedConvolution,
}


@torch.no_grad()
def rounded_weight(layer: QuantLayer) -> Tensor:
    """The weight as the quantized layer uses it, [C_out, ...]; packed codes take its place in the file."""
    return weight_quantizer(layer)(layer.weight)[0].clone()


class OnnxGelu(nn.Module):
    """The exact GELU in the order of operators that runtimes know and fuse (``Gelu`` itself is opset 20)."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (torch.erf(x / math.sqrt(2.0)) + 1.0) * 0.5


def onnx_export_modules(model: nn.Module, plan: Plan, example: Tensor) -> nn.Module:
    """A copy of M_q or M_q^v whose quantized layers are the classes above.

    Args:
        example: one image [1, 3, H, W], to learn on how many axes each layer works.
    """
    calls = trace(model, example).calls

    def build(layer: QuantLayer, name: str) -> nn.Module:
        builder = export_module_builder(ONNX_MODULES, layer, name)
        return builder(layer, name, calls[name][0].inputs[0].dim())

    modules = with_export_modules(model, plan, build, OnnxActivation)
    for module in modules_by_name(modules).values():
        if isinstance(module, nn.GELU) and module.approximate == "none":
            replace_module(modules, module, OnnxGelu())
    return modules


def _node(
    operator: str,
    inputs: Sequence[Tensor],
    shape: Sequence[int],
    attributes: Attributes | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    return symbolic(operator, inputs, attributes, dtype=dtype, shape=shape, version=ONNX_OPSET)
