"""``nn.MultiheadAttention`` with projections that are layers, and with quantized products.

torch's own calls one function with all weights, or a fused kernel, in which no layer can be quantized.
"""

from collections.abc import Mapping
from typing import TypeGuard

import torch
from brevitas.nn import QuantIdentity
from torch import Tensor, nn

from brevitas_defakeq.nn.attention import QUANTIZED_ATTENTION, adopt


class LayeredMultiheadAttention(nn.MultiheadAttention):
    """torch's with the layers ``in_proj``, or ``q_proj``, ``k_proj`` and ``v_proj``, and ``out_proj``."""

    packed: bool
    in_proj: nn.Module
    q_proj: nn.Module
    k_proj: nn.Module
    v_proj: nn.Module

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As torch's; ``is_causal`` only hints at what ``attn_mask`` holds."""
        batched = query.dim() == 3
        q, k, v = (self._heads(part) for part in self._projected(query, key, value))  # [B, heads, T, D]
        scores = self.quantized("q_quant", q) @ self.quantized("k_quant", k).transpose(-2, -1)
        scores = scores * self.head_dim**-0.5  # [B, heads, T, S]
        if attn_mask is not None:
            shaped = attn_mask if attn_mask.dim() == 2 else attn_mask.view(scores.shape)
            scores = _hidden(scores, shaped)
        if key_padding_mask is not None:
            scores = _hidden(scores, key_padding_mask.view(len(scores), 1, 1, -1))
        weights = scores.softmax(dim=-1)
        mixed = self.quantized("softmax_quant", weights) @ self.quantized("v_quant", v)
        output = self.out_proj(mixed.transpose(1, 2).flatten(2))  # [B, T, C]
        if not batched:
            output, weights = output.squeeze(0), weights.squeeze(0)
        elif not self.batch_first:
            output = output.transpose(0, 1)
        if not need_weights:
            return output, None
        return output, weights.mean(dim=-3) if average_attn_weights else weights

    def _projected(self, *operands: Tensor) -> tuple[Tensor, ...]:
        """q, k and v, [B, T, C]."""
        if self.packed:
            joint: Tensor = self.in_proj(self._batch_first(operands[0]))
            return joint.chunk(3, dim=-1)
        layers = (self.q_proj, self.k_proj, self.v_proj)
        pairs = zip(layers, operands, strict=True)
        return tuple(layer(self._batch_first(operand)) for layer, operand in pairs)

    def _batch_first(self, values: Tensor) -> Tensor:
        """[T, C], [T, B, C] or [B, T, C] -> [B, T, C]."""
        if values.dim() == 2:
            return values.unsqueeze(0)
        return values if self.batch_first else values.transpose(0, 1)

    def _heads(self, values: Tensor) -> Tensor:
        return values.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)

    def quantized(self, operand: str, values: Tensor) -> Tensor:
        """An operand of a product; here as it is."""
        return values


class QuantMultiheadAttention(LayeredMultiheadAttention):
    """``LayeredMultiheadAttention`` with quantized operands; ``from_float`` makes one."""

    @classmethod
    def from_float(cls, module: nn.Module, operands: Mapping[str, dict]) -> "QuantMultiheadAttention":
        return adopt(module, cls, operands)

    def quantized(self, operand: str, values: Tensor) -> Tensor:
        quantizer: QuantIdentity = getattr(self, operand)
        return quantizer(values)


QUANTIZED_ATTENTION[LayeredMultiheadAttention] = QuantMultiheadAttention


def _hidden(scores: Tensor, mask: Tensor) -> Tensor:
    """Scores with a mask: added, or minus infinity where it is True."""
    return scores.masked_fill(mask, float("-inf")) if mask.dtype == torch.bool else scores + mask


def can_be_layered(module: nn.Module) -> TypeGuard[nn.MultiheadAttention]:
    """Whether it is torch's own attention, without learned keys beside those of the tokens."""
    return (
        type(module) is nn.MultiheadAttention
        and "forward" not in vars(module)
        and module.bias_k is None
        and not module.add_zero_attn
    )  # fmt: skip


@torch.no_grad()
def make_layered_(attention: nn.MultiheadAttention, *, packed: bool) -> None:
    """Turn torch's attention into a ``LayeredMultiheadAttention``, in place.

    Args:
        packed: query, key and value are always one tensor, which one layer projects.
    """
    bias = attention.in_proj_bias
    joint = attention.in_proj_weight
    separate = (attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight)
    weights = separate if joint is None else joint.chunk(3)
    biases = (None,) * 3 if bias is None else bias.chunk(3)
    for name in ("in_proj_weight", "in_proj_bias", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
        attention.register_parameter(name, None)
    attention.__class__ = LayeredMultiheadAttention
    vars(attention)["packed"] = packed
    if packed:
        attention.add_module("in_proj", _linear(joint, bias))
    else:
        for name, weight, own in zip("qkv", weights, biases, strict=True):
            attention.add_module(f"{name}_proj", _linear(weight, own))


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    with torch.device("meta"):
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone())
    return layer.eval()


def without_fused_kernels_(model: nn.Module) -> None:
    """Let torch's transformer layers call their parts, rather than one kernel with all weights, in place.

    These attributes choose the kernel and nothing else.
    """
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer):
            module.activation_relu_or_gelu = 0
        elif isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False
