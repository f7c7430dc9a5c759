"""A quantized model as modules that become QONNX: plain layers around ``Quant`` nodes.

As in ``export.onnx_modules`` the nodes are put straight into torch's graph, so the codes, scales and zero
points are the run's own; learned rounding is in the weights already. Brevitas' exporter would lose it, and
does not know channels of another width.
"""

from collections.abc import Callable

import torch
from brevitas.nn.quant_layer import QuantWeightBiasInputOutputLayer as QuantLayer
from torch import Tensor, nn
from torch.onnx.ops import symbolic

from brevitas_defakeq.export.convolution_geometry import Attributes, ConvolutionGeometry, OwnPadding
from brevitas_defakeq.export.onnx_modules import padded_by_node
from brevitas_defakeq.export.qonnx_weights import QonnxWeight, RoundedWeight, activation_node
from brevitas_defakeq.export.replace_layers import export_module_builder, quantized_by, with_export_modules
from brevitas_defakeq.nn.attention import QuantAttention, masked
from brevitas_defakeq.nn.module_tree import modules_by_name, replace_module
from brevitas_defakeq.prepare.plan import Plan
from brevitas_defakeq.utils.errors import UserError

#: The operator set of every node: the first with a single ``Gelu``.
QONNX_OPSET = 20


class QonnxLinear(nn.Module):
    """MatMul and Add."""

    def __init__(self, weight: RoundedWeight, bias: Tensor, activation: nn.Module, output: nn.Module) -> None:
        super().__init__()
        self.rounded, self.activation, self.output = weight, activation, output
        self.weight_quant = QonnxWeight(weight, axis=1)  # a MatMul takes [in, out]
        self.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(torch.matmul(self.activation(x), self.weight_quant()) + self.bias)

    def of_outputs(self, chosen: slice) -> "QonnxLinear":
        """Some of the outputs, of an input that is quantized already."""
        return QonnxLinear(self.rounded.of_channels(chosen), self.bias[chosen], nn.Identity(), nn.Identity())


class QonnxConvolution(nn.Module):
    """Conv with the fixed, possibly uneven padding as its own attribute, or behind another padding."""

    pads: Tensor

    def __init__(self, layer: QuantLayer, name: str) -> None:
        super().__init__()
        self.activation = quantized_by(layer.input_quant, name, activation_node)
        self.output = quantized_by(layer.output_quant, name, activation_node)
        self.weight_quant = QonnxWeight(RoundedWeight.of(layer), axis=0)
        self.bias = nn.Parameter(layer.bias.detach().clone(), requires_grad=False)
        self.geometry, self.padding = ConvolutionGeometry.of(layer), OwnPadding.of(layer)
        self.register_buffer("pads", torch.tensor(self.padding.pads))

    def forward(self, x: Tensor) -> Tensor:
        geometry = self.geometry
        x = padded_by_node(x, self.padding, self.pads, QONNX_OPSET)
        shape = (x.shape[0], len(self.bias), *geometry.output_sides(x.shape[2:]))
        inputs = (self.activation(x), self.weight_quant(), self.bias)
        attributes: Attributes = {**geometry.attributes, "kernel_shape": geometry.kernel}
        y = symbolic("Conv", inputs, attributes, dtype=torch.float32, shape=shape, version=QONNX_OPSET)
        return self.output(y)


class QonnxTransposedConvolution(nn.Module):
    """ConvTranspose, whose weight [C_in, C_out, kh, kw] has its quantizer along C_out."""

    def __init__(self, layer: QuantLayer, name: str) -> None:
        super().__init__()
        if layer.groups > 1:
            raise UserError(
                f"{name}: QONNX has no quantizer for a ConvTranspose with groups: no axis of its weight "
                f"holds the output channels; quantize with --keep-float {name}"
            )
        self.activation = quantized_by(layer.input_quant, name, activation_node)
        self.output = quantized_by(layer.output_quant, name, activation_node)
        self.weight_quant = QonnxWeight(RoundedWeight.of(layer), axis=1)
        self.bias = nn.Parameter(layer.bias.detach().clone(), requires_grad=False)
        self.geometry, self.added = ConvolutionGeometry.of(layer), list(layer.output_padding)

    def forward(self, x: Tensor) -> Tensor:
        geometry = self.geometry
        shape = (x.shape[0], len(self.bias), *geometry.sides_of_transposed(x.shape[2:], self.added))
        inputs = (self.activation(x), self.weight_quant(), self.bias)
        attributes: Attributes = {
            **geometry.attributes, "kernel_shape": geometry.kernel, "output_padding": self.added
        }  # fmt: skip
        y = symbolic(
            "ConvTranspose", inputs, attributes, dtype=torch.float32, shape=shape, version=QONNX_OPSET
        )
        return self.output(y)


def _linear(layer: QuantLayer, name: str) -> QonnxLinear:
    activation = quantized_by(layer.input_quant, name, activation_node)
    output = quantized_by(layer.output_quant, name, activation_node)
    return QonnxLinear(RoundedWeight.of(layer), layer.bias, activation, output)


#: ``LayerKind.export_modules`` -> (quantized layer, its name) -> its export module, with a
#: ``QonnxWeight`` as ``weight_quant``. Layer kinds from outside add theirs.
QONNX_MODULES: dict[str, Callable[[QuantLayer, str], nn.Module]] = {
    "linear": _linear,
    "convolution": QonnxConvolution,
    "transposed convolution": QonnxTransposedConvolution,
}


class QonnxAttention(nn.Module):
    """timm's attention with q, k and v as products of their own: what hardware builds, the same numbers."""

    def __init__(self, old: QuantAttention, qkv: QonnxLinear) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.scale = old.num_heads, old.head_dim, old.scale
        self.activation, self.proj = qkv.activation, old.proj
        width = self.num_heads * self.head_dim
        self.qkv = nn.ModuleDict(
            {name: qkv.of_outputs(slice(i * width, (i + 1) * width)) for i, name in enumerate("qkv")}
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


def qonnx_export_modules(model: nn.Module, plan: Plan) -> nn.Module:
    """A copy of M_q or M_q^v whose quantizers are ``Quant`` nodes; for export only, it cannot be run."""

    def build(layer: QuantLayer, name: str) -> nn.Module:
        return export_module_builder(QONNX_MODULES, layer, name)(layer, name)

    modules = with_export_modules(model, plan, build, activation_node)
    for module in modules_by_name(modules).values():
        if type(module) is QuantAttention and isinstance(module.qkv, QonnxLinear) and _is_plain(module):
            replace_module(modules, module, QonnxAttention(module, module.qkv))
    return modules.eval()


def _is_plain(attention: QuantAttention) -> bool:
    """Whether q, k and v go straight from ``qkv`` into their products."""
    if getattr(attention, "gate", None) is not None:
        return False
    between = (attention.q_norm, attention.k_norm, getattr(attention, "norm", None), attention.qkv.output)
    return all(module is None or isinstance(module, nn.Identity) for module in between)
