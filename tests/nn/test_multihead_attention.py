"""torch's multi-head attention taken apart into layers: the same outputs, and close at 8 bits."""

import pytest
import torch
from torch import nn

from brevitas_defakeq.nn.attention import PRODUCT_OPERANDS, QUANTIZED_ATTENTION
from brevitas_defakeq.nn.multihead_attention import (
    LayeredMultiheadAttention,
    can_be_layered,
    make_layered_,
    without_fused_kernels_,
)
from brevitas_defakeq.prepare.calibrate import calibrate_, quantization_off
from brevitas_defakeq.quant.activation_quantizer import activation_proxies
from brevitas_defakeq.quant.presets import HAQActPerTensorFloat

TOKENS, BATCH, WIDTH, HEADS = 5, 3, 16, 4
OPTIONS = {
    "sequence first": {}, "batch first": {"batch_first": True}, "no bias": {"bias": False},
    "other widths": {"kdim": 6, "vdim": 10},
}  # fmt: skip


def attentions(**options):
    """torch's and ours, with the same weights."""
    torch.manual_seed(0)
    made = nn.MultiheadAttention(WIDTH, HEADS, **options).eval()
    if made.in_proj_bias is not None:
        nn.init.normal_(made.in_proj_bias)
    torch.manual_seed(0)
    ours = nn.MultiheadAttention(WIDTH, HEADS, **options).eval()
    ours.load_state_dict(made.state_dict())
    return made, ours


def inputs(kdim=WIDTH, vdim=WIDTH, batch_first=False, **_):
    torch.manual_seed(1)
    drawn = [torch.randn(length, BATCH, size) for length, size in ((TOKENS, WIDTH), (7, kdim), (7, vdim))]
    return [part.transpose(0, 1) for part in drawn] if batch_first else drawn


def check(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        if theirs is None:
            assert ours is None
        else:
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("call", [{}, {"need_weights": False}, {"average_attn_weights": False}])
@pytest.mark.parametrize("kind", OPTIONS)
def test_three_inputs(kind, call):
    made, ours = attentions(**OPTIONS[kind])
    operands = inputs(**OPTIONS[kind])
    make_layered_(ours, packed=False)
    check(ours(*operands, **call), made(*operands, **call))
    assert [name for name, _ in ours.named_children()] == ["out_proj", "q_proj", "k_proj", "v_proj"]


@pytest.mark.parametrize("kind", ["sequence first", "batch first", "no bias"])
def test_one_input(kind):
    made, ours = attentions(**OPTIONS[kind])
    x = inputs(**OPTIONS[kind])[0]
    make_layered_(ours, packed=True)
    check(ours(x, x, x), made(x, x, x))
    check(ours(x[0], x[0], x[0]), made(x[0], x[0], x[0]))  # without a batch
    names = {name for name, _ in ours.named_parameters()}
    assert {"in_proj.weight", "out_proj.weight"} <= names <= {
        "in_proj.weight", "in_proj.bias", "out_proj.weight", "out_proj.bias"
    }  # fmt: skip


MASKS = {
    "bool": torch.ones(TOKENS, TOKENS, dtype=torch.bool).triu(1),
    "added": torch.randn(TOKENS, TOKENS, generator=torch.Generator().manual_seed(2)),
    "of each head": torch.randn(BATCH * HEADS, TOKENS, TOKENS, generator=torch.Generator().manual_seed(2)),
}


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("mask", MASKS)
def test_masks(mask, padded):
    made, ours = attentions(batch_first=True)
    x = inputs(batch_first=True)[0]
    make_layered_(ours, packed=True)
    padding = torch.zeros(BATCH, TOKENS, dtype=torch.bool)
    padding[1, 3:] = True
    options = {"attn_mask": MASKS[mask], "key_padding_mask": padding if padded else None}
    if padded and mask != "bool":
        options["key_padding_mask"] = torch.zeros(BATCH, TOKENS).masked_fill(padding, float("-inf"))
    check(ours(x, x, x, **options), made(x, x, x, **options))


@pytest.mark.parametrize("norm_first", [False, True])
def test_transformer_layers_call_their_parts(norm_first):
    """In evaluation mode torch's own would hand all weights to one kernel."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 24, batch_first=True, norm_first=norm_first)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=not norm_first).eval()
    x = inputs(batch_first=True)[0]
    padding = torch.zeros(BATCH, TOKENS, dtype=torch.bool)
    padding[1, 3:] = True
    with torch.no_grad():
        expected, padded = encoder(x), encoder(x, src_key_padding_mask=padding)
        without_fused_kernels_(encoder)
        for part in encoder.layers:
            make_layered_(part.self_attn, packed=True)
        called = []
        encoder.layers[1].linear1.register_forward_hook(lambda *_: called.append(1))
        torch.testing.assert_close(encoder(x), expected, atol=1e-5, rtol=1e-5)
        found = encoder(x, src_key_padding_mask=padding)
    assert called == [1, 1]
    torch.testing.assert_close(found[~padding], padded[~padding], atol=1e-5, rtol=1e-5)


def test_close_at_8_bits_worse_at_3():
    made, ours = attentions(batch_first=True)
    x = inputs(batch_first=True)[0]
    make_layered_(ours, packed=True)
    expected, errors = made(x, x, x)[0], {}
    for bits in (8, 3):
        options = {"act_quant": HAQActPerTensorFloat, "bit_width": bits, "candidate_bits": (bits,)}
        quantized = QUANTIZED_ATTENTION[type(ours)].from_float(ours, dict.fromkeys(PRODUCT_OPERANDS, options))

        class Self(nn.Module):
            def __init__(self, attention):
                super().__init__()
                self.attention = attention

            def forward(self, tokens):
                return self.attention(tokens, tokens, tokens)[0]

        model = Self(quantized.eval())
        with quantization_off(model):
            torch.testing.assert_close(model(x), expected, atol=1e-5, rtol=1e-5)
        calibrate_(model, activation_proxies(model), [x], count=1)
        errors[bits] = ((model(x) - expected).square().mean() / expected.square().mean()).sqrt()
    assert 0 < errors[8] < 0.03
    assert errors[3] > 4 * errors[8]


def test_what_is_left_alone():
    assert not can_be_layered(nn.MultiheadAttention(WIDTH, HEADS, add_bias_kv=True))
    assert not can_be_layered(nn.MultiheadAttention(WIDTH, HEADS, add_zero_attn=True))
    assert not can_be_layered(nn.Linear(2, 2))
    _, ours = attentions()
    assert can_be_layered(ours)
    make_layered_(ours, packed=True)
    assert type(ours) is LayeredMultiheadAttention and not can_be_layered(ours)
