"""Products that no layer computes: found, made into layers, and left alone where they are something else."""

import copy

import product_networks
import pytest
import timm
import torch
from small_networks import Net
from torch import nn
from torch.nn import functional as F

from brevitas_defakeq.nn.functional_products import FunctionalProducts
from brevitas_defakeq.prepare.plan import Plan, make_plan, replay_preparation_
from brevitas_defakeq.prepare.simplify import replay_products_

IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def prepared(model, images=IMAGES):
    """The plan and the prepared copy, which computes what the model does."""
    made = copy.deepcopy(model.eval())
    plan = make_plan(made, images)
    torch.testing.assert_close(made(images), model(images), atol=1e-4, rtol=1e-4)
    return plan, made


def names(plan):
    return [layer.name for layer in plan.layers]


def test_every_product_of_a_network_becomes_a_layer():
    plan, made = prepared(product_networks.build()[0])
    kinds = {layer.name: layer.kind for layer in plan.layers}
    assert kinds == {
        "stem.product": "Conv2d", "up": "ConvTranspose2d", "down": "Conv2d", "borrowed.qkv": "Linear",
        "borrowed.proj": "Linear", "attention.in_proj": "Linear", "attention.out_proj": "Linear",
        "matrix_product": "Linear", "along": "Conv1d", "head": "Linear",
    }  # fmt: skip
    assert plan.left_float == {}
    assert plan.attentions == ("attention",)
    assert plan.folds == (("stem.product", "norm"),)
    assert plan.head == "head"
    assert not any(parameter.dim() > 1 for parameter in made._parameters.values())


def test_replay_on_a_fresh_architecture():
    model = product_networks.build()[0]
    plan, made = prepared(model)
    plan = Plan.from_dict(plan.to_dict())
    fresh = copy.deepcopy(model)
    replay_products_(fresh, plan.products)
    replay_preparation_(fresh, plan)
    assert [name for name, _ in fresh.named_modules()] == [name for name, _ in made.named_modules()]
    assert [module.__class__.__name__ for module in fresh.modules()] == [
        module.__class__.__name__ for module in made.modules()
    ]


def test_a_copy_calls_its_own_layers():
    _, made = prepared(product_networks.build()[0])
    other = copy.deepcopy(made)
    with torch.no_grad():
        other.stem.product.weight.zero_()
        other.borrowed.qkv.weight.zero_()
    assert not torch.equal(made(IMAGES), other(IMAGES))
    assert made.stem.product.weight.abs().sum() > 0
    assert isinstance(other.stem, FunctionalProducts) and isinstance(
        other.stem, product_networks.OwnConvolution
    )


def test_what_was_a_parameter_keeps_shape_and_type():
    _, made = prepared(product_networks.build()[0])
    assert made.stem.weight.shape == (8, 3, 3, 3)
    made.double()
    assert made.stem.weight.dtype == torch.float64
    assert made(IMAGES.double()).dtype == torch.float64


def pooled(x):
    return x.mean((2, 3))


class Owner(nn.Module):
    """``compute(self, x)`` with the parameters ``w`` [4, 3] and ``b`` [4]."""

    def __init__(self, compute):
        super().__init__()
        self.w, self.b, self.compute = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(4)), compute

    def forward(self, x):
        return self.compute(self, x)


@pytest.mark.parametrize(
    "compute",
    [
        lambda m, x: F.linear(x, m.w) + m.w.sum(),  # read elsewhere too
        lambda m, x: F.linear(x, m.w, x.mean() * m.b),  # a bias that depends on the image
        lambda m, x: F.linear(x, m.w, m.b) + F.linear(x, m.w),  # two biases
    ],
)
def test_what_is_no_layer_stays_as_it_is(compute):
    model = Net(lambda m, x: m.head(m.own(pooled(x))), own=Owner(compute), head=nn.Linear(4, 2))
    plan, _ = prepared(model)
    assert names(plan) == ["head"]
    assert plan.left_float == {"own": "Owner has no quantized form here"}


def test_another_weight_than_the_parameter():
    own = Owner(lambda m, x: F.linear(x, m.w / m.w.norm(), m.b))
    model = Net(lambda m, x: m.head(m.own(pooled(x))), own=own, head=nn.Linear(4, 2))
    assert names(prepared(model)[0]) == ["head"]


@pytest.mark.parametrize(
    "compute",
    [
        lambda m, x: F.linear(x, m.w, m.b),
        lambda m, x: F.linear(input=x, weight=m.w, bias=2 * m.b),
        lambda m, x: F.linear(F.linear(x, m.w).relu()[:, :3], m.w),
    ],
)
def test_own_products(compute):
    model = Net(lambda m, x: m.head(m.own(pooled(x))), own=Owner(compute), head=nn.Linear(4, 2))
    plan, _ = prepared(model)
    assert names(plan) == ["own.w_product", "head"]


def test_a_last_product_by_function_is_no_head_that_other_variants_lack():
    model = Net(
        lambda m, x: m.own(m.stem(pooled(x))), stem=nn.Linear(3, 3), own=Owner(lambda m, x: x @ m.w.t())
    )
    assert names(prepared(model)[0]) == ["stem"]
    model = Net(
        lambda m, x: m.own(m.stem(pooled(x))), stem=nn.Linear(3, 3), own=Owner(lambda m, x: F.linear(x, m.w))
    )
    plan, _ = prepared(model)
    assert names(plan) == ["stem", "own.w_product"]
    assert plan.head == "own"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("beit_base_patch16_224", {"img_size": 32, "depth": 1, "embed_dim": 24, "num_heads": 2}),
        ("eva02_tiny_patch14_224", {"img_size": 28, "depth": 1, "embed_dim": 24, "num_heads": 2}),
        (
            "swinv2_tiny_window8_256",
            {"img_size": 32, "window_size": 4, "depths": (1, 1), "embed_dim": 24, "num_heads": (2, 4)},
        ),
    ],
)
def test_timms_borrowed_weights(name, options):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=2, **options)
    for key, parameter in model.named_parameters():
        if key.endswith(("q_bias", "v_bias")):
            nn.init.normal_(parameter)
    plan, _ = prepared(model, torch.randn(2, 3, options["img_size"], options["img_size"]))
    assert not any("qkv" in layer for layer in plan.left_float)
    assert any(layer.endswith("attn.qkv") for layer in names(plan))
