"""Quantized attention: timm's own with quantization off, close to it at 8 bits."""

from functools import partial

import pytest
import torch
from timm.models.swin_transformer import WindowAttention
from timm.models.vision_transformer import Attention
from torch import nn

from brevitas_defakeq.nn.attention import (
    PRODUCT_OPERANDS,
    QUANTIZED_ATTENTION,
    QuantAttention,
    QuantWindowAttention,
)
from brevitas_defakeq.prepare.calibrate import calibrate_, quantization_off
from brevitas_defakeq.quant.activation_quantizer import activation_proxies
from brevitas_defakeq.quant.presets import HAQActPerTensorFloat, HAQActPerTensorSymmetric

OPTIONS = {
    "plain": {},
    "bias": {"qkv_bias": True},
    "qk_norm": {"qk_norm": True, "norm_layer": nn.LayerNorm},
    "scale_norm": {"scale_norm": True, "norm_layer": nn.LayerNorm},
    "gated": {"gated": True},
    "head_dim": {"attn_head_dim": 6, "dim_out": 20},
}
TOKENS = torch.randn(3, 9, 16, generator=torch.Generator().manual_seed(0))


def attention(fused=False, **options):
    torch.manual_seed(0)
    made = Attention(16, num_heads=4, **options).eval()
    made.fused_attn = fused
    return made


def window(fused=False):
    torch.manual_seed(0)
    made = WindowAttention(16, num_heads=4, window_size=3).eval()
    nn.init.normal_(made.relative_position_bias_table)
    made.fused_attn = fused
    return made


def quantized(cls, module, preset=HAQActPerTensorFloat, bits=8):
    options = {"act_quant": preset, "bit_width": bits, "candidate_bits": (bits,)}
    return cls.from_float(module, dict.fromkeys(PRODUCT_OPERANDS, options)).eval()


def masks():
    keep = torch.ones(9, 9, dtype=torch.bool).tril()
    return {"none": None, "bool": keep, "additive": torch.randn(9, 9).masked_fill(~keep, float("-inf"))}


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("mask", ["none", "bool", "additive"])
@pytest.mark.parametrize("kind", OPTIONS)
def test_equals_timm_with_quantization_off(kind, mask, fused):
    made = attention(fused, **OPTIONS[kind])
    expected = made(TOKENS, attn_mask=masks_of(mask))
    ours = quantized(QuantAttention, made)
    with quantization_off(ours):
        torch.testing.assert_close(ours(TOKENS, attn_mask=masks_of(mask)), expected, atol=1e-6, rtol=1e-5)


def masks_of(name):
    torch.manual_seed(4)
    return masks()[name]


def test_causal_equals_timm():
    made = attention(True)
    ours = quantized(QuantAttention, made)
    with quantization_off(ours):
        torch.testing.assert_close(
            ours(TOKENS, is_causal=True), made(TOKENS, is_causal=True), atol=1e-6, rtol=1e-5
        )


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_window_attention_equals_timm_with_quantization_off(masked, fused):
    made = window(fused)
    tokens = torch.randn(8, 9, 16)  # 2 images of 4 windows
    mask = torch.randn(4, 9, 9).masked_fill(torch.rand(4, 9, 9) < 0.2, -100.0) if masked else None
    ours = quantized(QuantWindowAttention, made)
    with quantization_off(ours):
        torch.testing.assert_close(ours(tokens, mask), made(tokens, mask), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("preset", [HAQActPerTensorFloat, HAQActPerTensorSymmetric])
@pytest.mark.parametrize("kind", ["attention", "window"])
def test_close_at_8_bits_worse_at_2(kind, preset):
    made = attention(qkv_bias=True) if kind == "attention" else window()
    cls = QUANTIZED_ATTENTION[type(made)]
    batches = TOKENS.split(1)
    expected = made(TOKENS)
    errors = {}
    for bits in (8, 3):
        ours = quantized(cls, made, preset, bits)
        calibrate_(ours, activation_proxies(ours), batches, count=len(batches))
        errors[bits] = ((ours(TOKENS) - expected).square().mean() / expected.square().mean()).sqrt()
    assert 0 < errors[8] < 0.03
    assert errors[3] > 4 * errors[8]


def test_names_children_and_state_dict_stay():
    made = attention(qkv_bias=True)
    ours = quantized(QuantAttention, made)
    children = [name for name, _ in ours.named_children()]
    assert children == [*(name for name, _ in made.named_children()), *PRODUCT_OPERANDS]
    for name, tensor in made.state_dict().items():
        assert torch.equal(ours.state_dict()[name], tensor)
    assert list(activation_proxies(ours)) == [f"{name}.act_quant" for name in PRODUCT_OPERANDS]
    assert not any(name in dict(made.named_children()) for name in PRODUCT_OPERANDS), (
        "the float one is untouched"
    )


def test_the_float_fused_flag_is_untouched():
    made = attention(fused=True)
    ours = quantized(QuantAttention, made)
    assert made.fused_attn and not ours.fused_attn


def test_each_operand_is_quantized():
    made = attention(qkv_bias=True)
    for name in PRODUCT_OPERANDS:
        ours = quantized(QuantAttention, made, bits=2)
        calibrate_(ours, activation_proxies(ours), TOKENS.split(1), count=3)
        with quantization_off(ours):
            exact = ours(TOKENS)
            getattr(ours, name).act_quant.disable_quant = False
            assert not torch.equal(ours(TOKENS), exact), f"{name} changes nothing"


def test_subclasses_are_not_in_the_table():
    subclass = partial(type, "Own", (Attention,), {})()
    assert subclass not in QUANTIZED_ATTENTION
