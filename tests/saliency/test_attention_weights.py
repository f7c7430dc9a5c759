"""Attention weights are found whichever code computes them, and the network's results stay."""

import pytest
import torch
from timm.models.vision_transformer import Attention
from torch import nn
from torch.nn import functional as F

from brevitas_defakeq.nn.attention import PRODUCT_OPERANDS, QuantAttention
from brevitas_defakeq.prepare.calibrate import calibrate_
from brevitas_defakeq.quant.activation_quantizer import activation_proxies
from brevitas_defakeq.quant.presets import HAQActPerTensorFloat
from brevitas_defakeq.saliency.attention_weights import AttentionWeights

QUERY, KEY, VALUE = (
    torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(seed)) for seed in range(3)
)
CAUSAL = torch.ones(5, 5, dtype=torch.bool).tril()


def weights(mask=None):
    scores = QUERY @ KEY.transpose(-2, -1) * 4**-0.5
    return (scores if mask is None else scores.masked_fill(~mask, float("-inf"))).softmax(dim=-1)


def kept_of(call):
    with AttentionWeights() as attention:
        result = call()
    torch.testing.assert_close(result, call(), rtol=0, atol=0)
    return attention.kept


WRITTEN = {
    "at": lambda: weights() @ VALUE,
    "dropout between": lambda: F.dropout(weights(), 0.5, training=False).matmul(VALUE),
    "einsum": lambda: torch.einsum("bhij,bhjd->bhid", weights(), VALUE),
    "functional": lambda: torch.matmul(F.softmax(QUERY @ KEY.mT * 4**-0.5, dim=-1), VALUE),
    "fused": lambda: F.scaled_dot_product_attention(QUERY, KEY, VALUE),
}


@pytest.mark.parametrize("code", WRITTEN)
def test_however_it_is_written(code):
    (found,) = kept_of(WRITTEN[code])
    torch.testing.assert_close(found, weights())


def test_bmm():
    (found,) = kept_of(lambda: torch.bmm(weights().flatten(0, 1), VALUE.flatten(0, 1)))
    torch.testing.assert_close(found, weights().flatten(0, 1))


@pytest.mark.parametrize("options", [{"is_causal": True}, {"attn_mask": CAUSAL}])
def test_masks_of_fused_attention(options):
    (found,) = kept_of(lambda: F.scaled_dot_product_attention(QUERY, KEY, VALUE, **options))
    torch.testing.assert_close(found, weights(CAUSAL))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("need_weights", [False, True])
def test_torchs_multi_head_attention(batch_first, need_weights):
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(8, 2, batch_first=batch_first).eval()
    tokens = torch.randn(3, 3, 8)
    _, expected = attention(tokens, tokens, tokens, average_attn_weights=False)
    (found,) = kept_of(lambda: attention(tokens, tokens, tokens, need_weights=need_weights)[0])
    torch.testing.assert_close(found, expected)


def test_torchs_transformer_layer():
    """Its own kernel for evaluation has no weights; it is not called here."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    tokens = torch.randn(3, 5, 8)
    with AttentionWeights() as attention, torch.no_grad():
        layer(tokens)
    assert [each.shape for each in attention.kept] == [(3, 2, 5, 5)]


def test_a_quantized_softmax_counts_as_quantized():
    torch.manual_seed(0)
    options = {"act_quant": HAQActPerTensorFloat, "bit_width": 2, "candidate_bits": (2,)}
    model = QuantAttention.from_float(Attention(16, 4), dict.fromkeys(PRODUCT_OPERANDS, options)).eval()
    tokens = torch.randn(2, 9, 16)
    calibrate_(model, activation_proxies(model), [tokens], count=1)
    (found,) = kept_of(lambda: model(tokens))
    assert found.shape == (2, 4, 9, 9) and len(found.unique()) <= 4


def test_other_softmaxes_and_products_are_none():
    def call():
        gate = F.softmax(VALUE.mean(dim=(2, 3)), dim=1)
        return (gate[:, :, None, None] * VALUE) @ KEY.mT

    assert kept_of(call) == []


def test_operands_are_told_from_feature_maps():
    with AttentionWeights() as attention:
        F.scaled_dot_product_attention(QUERY, KEY, VALUE)
    assert all(attention.is_operand(each) for each in (QUERY, KEY, VALUE, weights()))
    assert not attention.is_operand(torch.zeros(2, 3, 4, 4))
    assert not attention.is_operand(torch.zeros(2, 5, 12))
