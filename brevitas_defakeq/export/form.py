"""The form of a quantized model that ``torch.onnx`` can write: plain layers around ONNX's quantization nodes.

``torch.onnx.ops.symbolic`` puts ONNX nodes straight into the exported graph, so quantizers need no custom
operator and 'same' padding stays inside its convolution. The form cannot be run in torch; the file is checked
against the quantized model instead.
"""

import math

import torch
from brevitas.nn import QuantIdentity
from torch import Tensor, nn
from torch.onnx.ops import symbolic

from brevitas_defakeq.errors import UserError
from brevitas_defakeq.nn.modules import modules_by_name, replace_module
from brevitas_defakeq.prepare.fold import StaticPad
from brevitas_defakeq.prepare.plan import Plan
from brevitas_defakeq.prepare.trace import trace
from brevitas_defakeq.quant.activation import activation_grid, activation_quantizer, is_symmetric
from brevitas_defakeq.reference import copy_module

#: The ONNX operator set of every node that is written here: the newest that ONNX Runtime 1.16 runs.
OPSET = 18


class Activation(nn.Module):
    """QuantizeLinear -> DequantizeLinear on unsigned bytes; narrower widths are clipped first.

    A signed grid is moved by 128: the same values, and unsigned activations load in every runtime.
    """

    def __init__(self, proxy: nn.Module, name: str) -> None:
        super().__init__()
        scale, zero_point, bit_width = (tensor.detach() for tensor in activation_grid(proxy))
        quantizer = activation_quantizer(proxy).int_quant
        codes = int(quantizer.min_int(bit_width)), int(quantizer.max_int(bit_width))
        if codes[1] - codes[0] > 255:
            raise UserError(
                f"{name}: {int(bit_width)}-bit activations have no ONNX form here; use 8 or fewer"
            )
        shift = 128 if is_symmetric(proxy) else 0
        code = int(zero_point.round()) + shift
        self.register_buffer("scale", scale.float().reshape(()))
        self.register_buffer("zero_point", torch.tensor(code, dtype=torch.uint8))
        whole = (codes[0] + shift, codes[1] + shift) == (0, 255)
        bounds = [(edge + shift - code) * float(scale) for edge in codes]
        self.bounds = None if whole else bounds

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.bounds is None else x.clamp(*self.bounds)
        coded = _node("QuantizeLinear", (x, self.scale, self.zero_point), x.shape, dtype=torch.uint8)
        return _node("DequantizeLinear", (coded, self.scale, self.zero_point), x.shape)


class Linear(nn.Module):
    """MatMul and Add: the bias in the shape [1, .., N] that ONNX Runtime does not take for a Gemm's."""

    def __init__(self, layer: nn.Module, activation: nn.Module, rank: int) -> None:
        super().__init__()
        self.activation = activation
        self.weight = nn.Parameter(_rounded(layer).t().contiguous(), requires_grad=False)  # [in, out]
        self.bias = nn.Parameter(layer.bias.detach().clone().view(*[1] * (rank - 1), -1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.matmul(self.activation(x), self.weight) + self.bias


class Convolution(nn.Module):
    """Conv with the fixed, possibly uneven padding as its own attribute."""

    def __init__(self, layer: nn.Module, activation: nn.Module, name: str) -> None:
        super().__init__()
        self.activation = activation
        self.output = _activation(layer.output_quant, name)
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
    return layer.weight_quant.tensor_quant(layer.weight)[0].clone()


class Gelu(nn.Module):
    """The exact GELU in the order of operators that runtimes know and fuse (``Gelu`` itself is opset 20)."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (torch.erf(x / math.sqrt(2.0)) + 1.0) * 0.5


def conv_pads(layer: nn.Module, name: str) -> list[int]:
    """ONNX's pads, all begins then all ends."""
    if layer.padding_mode != "zeros":
        raise UserError(f"{name}: padding_mode={layer.padding_mode!r} has no ONNX form; use zeros")
    if isinstance(layer.padding, str):
        whole = [
            d * (k - 1) * (layer.padding == "same")
            for k, d in zip(layer.kernel_size, layer.dilation, strict=True)
        ]
        begins, ends = [pad // 2 for pad in whole], [pad - pad // 2 for pad in whole]
    else:
        begins, ends = list(layer.padding), list(layer.padding)
    if isinstance(layer, StaticPad):
        left, right, top, bottom = layer.static_padding
        begins, ends = [begins[0] + top, begins[1] + left], [ends[0] + bottom, ends[1] + right]
    return begins + ends


def export_form(model: nn.Module, plan: Plan, example: Tensor) -> nn.Module:
    """A copy of M_q or M_q^v whose quantized layers are the classes above.

    Args:
        example: one image [1, 3, H, W], to learn on how many axes each layer works.
    """
    seen = trace(model, example)
    form = copy_module(model)
    modules = modules_by_name(form)
    for layer in plan.layers:
        old = modules[layer.name]
        activation = _activation(old.input_quant, layer.name)
        if old.weight.dim() == 2:
            new = Linear(old, activation, rank=seen.calls[layer.name][0].inputs[0].dim())
        else:
            new = Convolution(old, activation, layer.name)
        replace_module(form, old, new)
    for name, module in modules.items():
        if isinstance(module, QuantIdentity):
            replace_module(form, module, _activation(module.act_quant, name))
        elif isinstance(module, nn.GELU) and module.approximate == "none":
            replace_module(form, module, Gelu())
    return form.eval()


def _activation(proxy: nn.Module, name: str) -> nn.Module:
    return Activation(proxy, name) if proxy.is_quant_enabled else nn.Identity()


def _node(operator: str, inputs: tuple, shape, attributes: dict | None = None, dtype=torch.float32) -> Tensor:
    return symbolic(operator, inputs, attributes or {}, dtype=dtype, shape=shape, version=OPSET)
