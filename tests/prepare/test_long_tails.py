"""Layers behind softmaxes and GELUs, however a network writes them."""

import math

import pytest
import timm
import torch
from planned import IMAGES
from small_networks import Net
from torch import nn
from torch.nn import functional as F

from brevitas_defakeq.artifact import quantized_copy
from brevitas_defakeq.config import DefakeQConfig
from brevitas_defakeq.prepare.plan import Plan, make_plan
from brevitas_defakeq.quant.activation_quantizer import activation_proxies, is_logarithmic

FORMS = {
    "module": nn.GELU(),
    "tanh": nn.GELU("tanh"),
    "function": F.gelu,
    "erf": lambda x: x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2))),
    "tanh in parts": lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "quick": lambda x: x * torch.sigmoid(1.702 * x),
    "moved": lambda x: F.dropout(F.gelu(x), 0.5, training=False).flatten(1).unflatten(1, (3, -1)),
    "softmax": lambda x: x.softmax(dim=-1),
}
OTHERS = {
    "relu": F.relu,
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "scaled": lambda x: 2.0 * F.gelu(x),
    "normalized": lambda x: F.layer_norm(F.gelu(x), (9,)),
    "plain": lambda x: x,
    "larger part": lambda x: F.gelu(x + 9.0) - 9.0,
}


def plan_of(activation):
    """Of two layers with ``activation`` between, on tokens [N, 3, 9]."""
    torch.manual_seed(0)
    model = Net(
        lambda m, x: m.second(activation(m.first(x.flatten(2)))).mean(1),
        first=nn.Linear(81, 9), second=nn.Linear(9, 1),
    ).eval()  # fmt: skip
    return make_plan(model, IMAGES)


@pytest.mark.parametrize("form", FORMS)
def test_however_it_is_written(form):
    plan = plan_of(FORMS[form])
    assert plan.long_tailed == ("second",)
    assert Plan.from_dict(plan.to_dict()) == plan


@pytest.mark.parametrize("form", OTHERS)
def test_nothing_else_counts(form):
    assert plan_of(OTHERS[form]).long_tailed == ()


def test_every_call_has_to_be_behind_one():
    def both(m, x):
        x = m.first(x.flatten(2))
        return (m.second(F.gelu(x)) + m.second(x)).mean(1)

    model = Net(both, first=nn.Linear(81, 9), second=nn.Linear(9, 1)).eval()
    assert make_plan(model, IMAGES).long_tailed == ()


def test_convolutions_stay_uniform():
    """What they pad is 0, which no bias could shift back."""
    model = Net(
        lambda m, x: m.second(F.gelu(m.first(x))).mean((1, 2, 3)),
        first=nn.Conv2d(3, 4, 3), second=nn.Conv2d(4, 4, 3, padding=1),
    ).eval()  # fmt: skip
    assert make_plan(model, IMAGES).long_tailed == ()


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("deit_tiny_patch16_224", {"img_size": 32, "depth": 2, "embed_dim": 48}, ["blocks.0", "blocks.1"]),
        (
            "vit_base_patch16_clip_quickgelu_224", {"img_size": 32, "depth": 1, "embed_dim": 48},
            ["blocks.0"],
        ),
    ],
)  # fmt: skip
def test_quantizers_of_a_transformer(name, options, expected):
    model = timm.create_model(name, num_classes=1, num_heads=3, **options).eval()
    plan = make_plan(model, torch.randn(2, 3, 32, 32))
    assert plan.long_tailed == tuple(f"{block}.mlp.fc2" for block in expected)
    found = {}
    for kind in ("log", "uniform"):
        quantized = quantized_copy(model, plan, DefakeQConfig(activation_quantizer=kind))
        proxies = activation_proxies(quantized)
        found[kind] = [name for name, proxy in proxies.items() if is_logarithmic(proxy)]
    assert found["uniform"] == []
    assert found["log"] == [
        f"{block}.{part}"
        for block in expected for part in ("attn.softmax_quant.act_quant", "mlp.fc2.input_quant")
    ]  # fmt: skip
