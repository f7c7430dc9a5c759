"""The form of a quantized model that becomes QONNX: plain layers around ``Quant`` nodes.

As in ``export.onnx_modules`` the nodes are put straight into torch's graph, so the codes, scales and zero
points are the run's own; learned rounding is in the weights already. Brevitas' exporter would lose it, and
does not know channels of another width.
"""

import torch
from torch import Tensor, nn
from torch.onnx.ops import symbolic

from brevitas_defakeq.export.qonnx_weights import Rows, Weight, activation
from brevitas_defakeq.export.replace_layers import conv_pads, quantized_by, replaced
from brevitas_defakeq.nn.attention import QuantAttention, masked
from brevitas_defakeq.nn.module_tree import modules_by_name, replace_module
from brevitas_defakeq.prepare.plan import Plan

#: The operator set of every node: the first with a single ``Gelu``.
OPSET = 20


class QonnxLinear(nn.Module):
    """MatMul and Add."""

    def __init__(self, rows: Rows, bias: Tensor, activation: nn.Module, output: nn.Module) -> None:
        super().__init__()
        self.rows, self.activation, self.output = rows, activation, output
        self.weight_quant = Weight(rows, linear=True)
        self.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(torch.matmul(self.activation(x), self.weight_quant()) + self.bias)

    def part(self, chosen: slice) -> "QonnxLinear":
        """Some of the outputs, of an input that is quantized already."""
        return QonnxLinear(self.rows.part(chosen), self.bias[chosen], nn.Identity(), nn.Identity())


class QonnxConvolution(nn.Module):
    """Conv with the fixed, possibly uneven padding as its own attribute."""

    def __init__(self, layer: nn.Module, name: str) -> None:
        super().__init__()
        self.activation = quantized_by(layer.input_quant, name, activation)
        self.output = quantized_by(layer.output_quant, name, activation)
        self.weight_quant = Weight(Rows.of(layer), linear=False)
        self.bias = nn.Parameter(layer.bias.detach().clone(), requires_grad=False)
        self.kernel = list(layer.kernel_size)
        self.attributes = {
            "strides": list(layer.stride), "pads": conv_pads(layer, name),
            "dilations": list(layer.dilation), "group": layer.groups, "kernel_shape": self.kernel,
        }  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        pads, half = self.attributes["pads"], len(self.kernel)
        sides = [
            (size + pads[axis] + pads[axis + half] - dilation * (kernel - 1) - 1) // stride + 1
            for axis, (size, kernel, stride, dilation) in enumerate(
                zip(
                    x.shape[2:], self.kernel, self.attributes["strides"], self.attributes["dilations"],
                    strict=True,
                )
            )
        ]  # fmt: skip
        shape = (x.shape[0], len(self.bias), *sides)
        inputs = (self.activation(x), self.weight_quant(), self.bias)
        y = symbolic("Conv", inputs, self.attributes, dtype=torch.float32, shape=shape, version=OPSET)
        return self.output(y)


class Attention(nn.Module):
    """timm's attention with q, k and v as products of their own: what hardware builds, the same numbers."""

    def __init__(self, old: QuantAttention) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.scale = old.num_heads, old.head_dim, old.scale
        self.activation, self.proj = old.qkv.activation, old.proj
        width = self.num_heads * self.head_dim
        self.qkv = nn.ModuleDict(
            {name: old.qkv.part(slice(i * width, (i + 1) * width)) for i, name in enumerate("qkv")}
        )
        self.q_quant, self.k_quant, self.v_quant = old.q_quant, old.k_quant, old.v_quant
        self.softmax_quant = old.softmax_quant

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        batch, tokens, _ = x.shape
        x = self.activation(x)
        q, k, v = (
            quantize(self.qkv[name](x)).view(batch, tokens, self.num_heads, self.head_dim)
            for name, quantize in zip("qkv", (self.q_quant, self.k_quant, self.v_quant), strict=True)
        )
        scores = (q.permute(0, 2, 1, 3) @ k.permute(0, 2, 3, 1)) * self.scale  # [B, heads, N, N]
        scores = masked(scores, attn_mask, is_causal)
        x = self.softmax_quant(scores.softmax(dim=-1)) @ v.permute(0, 2, 1, 3)
        return self.proj(x.permute(0, 2, 1, 3).reshape(batch, tokens, self.num_heads * self.head_dim))


def qonnx_form(model: nn.Module, plan: Plan) -> nn.Module:
    """A copy of M_q or M_q^v whose quantizers are ``Quant`` nodes; for export only, it cannot be run."""

    def layer(old: nn.Module, name: str) -> nn.Module:
        if old.weight.dim() == 2:
            ends = (quantized_by(proxy, name, activation) for proxy in (old.input_quant, old.output_quant))
            return QonnxLinear(Rows.of(old), old.bias, *ends)
        return QonnxConvolution(old, name)

    form = replaced(model, plan, layer, activation)
    for module in modules_by_name(form).values():
        if type(module) is QuantAttention and _is_plain(module):
            replace_module(form, module, Attention(module))
    return form.eval()


def _is_plain(attention: QuantAttention) -> bool:
    """Whether q, k and v go straight from ``qkv`` into their products."""
    if not isinstance(attention.qkv, QonnxLinear) or getattr(attention, "gate", None) is not None:
        return False
    between = (attention.q_norm, attention.k_norm, getattr(attention, "norm", None), attention.qkv.output)
    return all(part is None or isinstance(part, nn.Identity) for part in between)
