"""The form of a quantized model that ``torch.onnx`` can write: plain layers around ONNX's quantization nodes.

``torch.onnx.ops.symbolic`` puts ONNX nodes straight into the exported graph, so quantizers need no custom
operator and 'same' padding stays inside its convolution. The form cannot be run in torch; the file is checked
against the quantized model instead.
"""

import math

import torch
from torch import Tensor, nn
from torch.onnx.ops import symbolic

from brevitas_defakeq.export.replace_layers import byte_grid, conv_pads, quantized_by, replaced
from brevitas_defakeq.nn.module_tree import modules_by_name, replace_module
from brevitas_defakeq.prepare.plan import Plan
from brevitas_defakeq.prepare.trace import trace
from brevitas_defakeq.quant.partial_float import weight_quantizer

#: The ONNX operator set of every node that is written here: the newest that ONNX Runtime 1.16 runs.
OPSET = 18


class OnnxActivation(nn.Module):
    """QuantizeLinear -> DequantizeLinear on unsigned bytes; narrower widths are clipped first."""

    def __init__(self, proxy: nn.Module, name: str) -> None:
        super().__init__()
        grid = byte_grid(proxy, name)
        self.register_buffer("scale", torch.tensor(grid.scale))
        self.register_buffer("zero_point", torch.tensor(grid.zero_point, dtype=torch.uint8))
        self.bounds = None if (grid.low, grid.high) == (0, 255) else grid.range

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.bounds is None else x.clamp(*self.bounds)
        coded = _node("QuantizeLinear", (x, self.scale, self.zero_point), x.shape, dtype=torch.uint8)
        return _node("DequantizeLinear", (coded, self.scale, self.zero_point), x.shape)


class OnnxLinear(nn.Module):
    """MatMul and Add: the bias in the shape [1, .., N] that ONNX Runtime does not take for a Gemm's."""

    def __init__(self, layer: nn.Module, activation: nn.Module, name: str, rank: int) -> None:
        super().__init__()
        self.activation = activation
        self.output = quantized_by(layer.output_quant, name, OnnxActivation)
        self.weight = nn.Parameter(_rounded(layer).t().contiguous(), requires_grad=False)  # [in, out]
        self.bias = nn.Parameter(layer.bias.detach().clone().view(*[1] * (rank - 1), -1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(torch.matmul(self.activation(x), self.weight) + self.bias)


class OnnxConvolution(nn.Module):
    """Conv with the fixed, possibly uneven padding as its own attribute."""

    def __init__(self, layer: nn.Module, activation: nn.Module, name: str) -> None:
        super().__init__()
        self.activation = activation
        self.output = quantized_by(layer.output_quant, name, OnnxActivation)
        self.weight = nn.Parameter(_rounded(layer), requires_grad=False)
        self.bias = nn.Parameter(layer.bias.detach().clone(), requires_grad=False)
        self.attributes = {
            "strides": list(layer.stride), "pads": conv_pads(layer, name),
            "dilations": list(layer.dilation), "group": layer.groups,
        }  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        parts = zip(
            x.shape[2:], self.weight.shape[2:], self.attributes["strides"], self.attributes["dilations"],
            strict=True,
        )  # fmt: skip
        pads, half = self.attributes["pads"], len(self.attributes["strides"])
        sides = [
            (size + pads[axis] + pads[axis + half] - dilation * (kernel - 1) - 1) // stride + 1
            for axis, (size, kernel, stride, dilation) in enumerate(parts)
        ]
        shape = (x.shape[0], self.weight.shape[0], *sides)
        y = _node("Conv", (self.activation(x), self.weight, self.bias), shape, self.attributes)
        return self.output(y)


@torch.no_grad()
def _rounded(layer: nn.Module) -> Tensor:
    """The weight as the quantized layer uses it; packed codes take its place in the file."""
    return weight_quantizer(layer)(layer.weight)[0].clone()


class Gelu(nn.Module):
    """The exact GELU in the order of operators that runtimes know and fuse (``Gelu`` itself is opset 20)."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (torch.erf(x / math.sqrt(2.0)) + 1.0) * 0.5


def export_form(model: nn.Module, plan: Plan, example: Tensor) -> nn.Module:
    """A copy of M_q or M_q^v whose quantized layers are the classes above.

    Args:
        example: one image [1, 3, H, W], to learn on how many axes each layer works.
    """
    seen = trace(model, example)

    def layer(old: nn.Module, name: str) -> nn.Module:
        activation = quantized_by(old.input_quant, name, OnnxActivation)
        if old.weight.dim() == 2:
            return OnnxLinear(old, activation, name, rank=seen.calls[name][0].inputs[0].dim())
        return OnnxConvolution(old, activation, name)

    form = replaced(model, plan, layer, OnnxActivation)
    for module in modules_by_name(form).values():
        if isinstance(module, nn.GELU) and module.approximate == "none":
            replace_module(form, module, Gelu())
    return form


def _node(operator: str, inputs: tuple, shape, attributes: dict | None = None, dtype=torch.float32) -> Tensor:
    return symbolic(operator, inputs, attributes or {}, dtype=dtype, shape=shape, version=OPSET)
