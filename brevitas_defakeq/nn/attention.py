"""Attention with quantized products, for timm's ViT/DeiT ``Attention`` and Swin's ``WindowAttention``.

Brevitas has ``QuantMultiheadAttention`` for ``nn.MultiheadAttention`` only. Both classes keep timm's
children and names (``qkv``, ``proj``, ...), so checkpoints and layer names stay, and add four activation
quantizers: q, k, v and the softmax output. The fused kernel is never used, for it hides the softmax.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from brevitas.nn import QuantIdentity
from timm.models.swin_transformer import WindowAttention
from timm.models.vision_transformer import Attention
from torch import Tensor, nn

Adopted = TypeVar("Adopted", bound=nn.Module)
#: The quantizers that each attention carries.
PRODUCT_OPERANDS = ("q_quant", "k_quant", "v_quant", "softmax_quant")


def adopt(module: nn.Module, cls: type[Adopted], operands: Mapping[str, dict]) -> Adopted:
    """A ``cls`` with the children and attributes of ``module`` plus the operand quantizers.

    ``operands``: what ``QuantIdentity`` is made with, for each of ``PRODUCT_OPERANDS``.
    """
    adopted = cls.__new__(cls)
    nn.Module.__init__(adopted)
    adopted.__dict__.update(module.__dict__, fused_attn=False)
    adopted._modules = dict(module._modules)
    for name in PRODUCT_OPERANDS:
        adopted.add_module(name, QuantIdentity(**operands[name]))
    return adopted


class QuantAttention(Attention):
    """timm's multi-head attention with quantized operands; ``from_float`` makes one."""

    q_quant: QuantIdentity
    k_quant: QuantIdentity
    v_quant: QuantIdentity
    softmax_quant: QuantIdentity

    @classmethod
    def from_float(cls, module: nn.Module, operands: Mapping[str, dict]) -> "QuantAttention":
        return adopt(module, cls, operands)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        batch, tokens, _ = x.shape
        gate = getattr(self, "gate", None)
        gated = None if gate is None else gate(x).sigmoid()
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        q, k, v = self.q_quant(self.q_norm(q)), self.k_quant(self.k_norm(k)), self.v_quant(v)
        scores = (q @ k.transpose(-2, -1)) * self.scale  # [B, heads, N, N]
        scores = masked(scores, attn_mask, is_causal)
        x = self.attn_drop(self.softmax_quant(scores.softmax(dim=-1))) @ v
        x = x.transpose(1, 2).reshape(batch, tokens, self.num_heads * self.head_dim)
        x = self.norm(x) if isinstance(getattr(self, "norm", None), nn.Module) else x
        x = x if gated is None else x * gated
        return self.proj_drop(self.proj(x))


def masked(scores: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
    """Scores [..., N, N] with masked positions at minus infinity, as in timm's attention."""
    if is_causal:
        scores = scores + torch.full_like(scores[0, 0], float("-inf")).triu(1)
    if mask is None:
        return scores
    return scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask


class QuantWindowAttention(WindowAttention):
    """Swin's window attention with quantized operands; keeps bias table and shifted-window mask."""

    q_quant: QuantIdentity
    k_quant: QuantIdentity
    v_quant: QuantIdentity
    softmax_quant: QuantIdentity

    @classmethod
    def from_float(cls, module: nn.Module, operands: Mapping[str, dict]) -> "QuantWindowAttention":
        return adopt(module, cls, operands)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        windows, tokens, _ = x.shape
        qkv = self.qkv(x).reshape(windows, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        q, k, v = self.q_quant(q), self.k_quant(k), self.v_quant(v)
        scores = (q @ k.transpose(-2, -1)) * self.scale + self._get_rel_pos_bias()
        if mask is not None:
            grouped = scores.view(-1, mask.shape[0], self.num_heads, tokens, tokens)
            scores = (grouped + mask.unsqueeze(1).unsqueeze(0)).view(-1, self.num_heads, tokens, tokens)
        x = self.attn_drop(self.softmax_quant(self.softmax(scores))) @ v
        return self.proj_drop(self.proj(x.transpose(1, 2).reshape(windows, tokens, -1)))


#: Float class -> quantized class. Exact types: a subclass with its own forward stays float and is reported.
QUANTIZED_ATTENTION: dict[type[nn.Module], Any] = {
    Attention: QuantAttention,
    WindowAttention: QuantWindowAttention,
}
