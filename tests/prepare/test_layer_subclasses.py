"""What subclasses of layers compute: constant weights are found, whatever computes them."""

import pytest
import timm
import torch
from planned import IMAGES, plan_of
from small_networks import Net
from timm.layers import ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame
from torch import nn
from torch.nn import functional as F

from brevitas_defakeq import load, quantize


class LowRank(nn.Linear):
    """A weight with a low-rank addition, as adapters have."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.down, self.up = nn.Linear(inputs, 1, bias=False), nn.Parameter(torch.randn(outputs, 1))

    def forward(self, x):
        return F.linear(x, self.weight + self.up @ self.down.weight, self.bias)


class Property(nn.Conv2d):
    """Its weight is no parameter at all."""

    def __init__(self, *args):
        super().__init__(*args)
        raw = self.weight.detach().clone()
        del self.weight
        self.raw = nn.Parameter(raw)

    @property
    def weight(self):
        return self.raw.exp()


class OfItsInput(nn.Conv2d):
    """Another weight for every input."""

    def forward(self, x):
        return F.conv2d(x, self.weight * x.mean(), self.bias)


class Scaled(nn.Conv2d):
    """Hardly differs on images with values near zero."""

    def forward(self, x):
        return super().forward(x) * (1 + x.mean() / 100)


def network(layer):
    return Net(
        lambda m, x: m.head(m.norm(m.layer(x)).relu().mean((2, 3))),
        layer=layer, norm=nn.BatchNorm2d(4), head=LowRank(4, 2),
    )  # fmt: skip


STANDARDIZED = {
    "StdConv2d": lambda: StdConv2d(3, 4, 3, 2, padding=1),
    "StdConv2d, no bias, groups": lambda: StdConv2d(3, 4, 3, padding=1, groups=1, bias=True),
    "ScaledStdConv2d": lambda: ScaledStdConv2d(3, 4, 3, 2, gamma=1.7, gain_init=0.3),
    "StdConv2dSame": lambda: StdConv2dSame(3, 4, 4, 2),
    "ScaledStdConv2dSame": lambda: ScaledStdConv2dSame(3, 4, 4, 2),
    "property": lambda: Property(3, 4, 3),
}


@pytest.mark.parametrize("case", STANDARDIZED)
def test_constant_weights(case):
    model = network(STANDARDIZED[case]())
    plan, made = plan_of(model)
    assert [layer.name for layer in plan.layers] == ["layer", "head"]
    assert (plan.plain, plan.left_float) == (("layer", "head"), {})
    assert plan.folds == (("layer", "norm"),)
    assert ("layer" in plan.paddings) == ("Same" in case)
    assert [name for name, _ in made.named_parameters()] == [
        "layer.weight", "layer.bias", "head.weight", "head.bias"
    ]  # fmt: skip


@pytest.mark.parametrize("layer", [OfItsInput, Scaled])
def test_layers_that_stay_float_with_a_reason(layer):
    plan, made = plan_of(network(layer(3, 4, 3)))
    assert [planned.name for planned in plan.layers] == ["head"]
    assert layer.__name__ in plan.left_float["layer"]
    assert plan.folds == () and type(made.layer) is layer


def test_differences_that_the_images_do_not_show():
    """On zeros, every convolution without a bias is like any other: `defakeq inspect` traces zeros."""
    model = network(Scaled(3, 4, 3, bias=False)).eval()
    from brevitas_defakeq.prepare.plan import make_plan

    assert "layer" in make_plan(model, torch.zeros_like(IMAGES)).left_float


def standardized():
    torch.manual_seed(0)
    return network(ScaledStdConv2dSame(3, 4, 4, 2)).eval()


def test_a_run_loads_again(images, quick_config, tmp_path):
    run = quantize(standardized(), images, quick_config())
    run.save(tmp_path)
    loaded = load(tmp_path, standardized())
    assert loaded.plan.plain == ("layer", "head")
    torch.testing.assert_close(loaded.quantized(images), run.quantized(images))


@pytest.mark.parametrize(("name", "side"), [("resnetv2_50x1_bit", 32), ("nf_regnet_b0", 32)])
def test_timm(name, side):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=2)
    if name == "resnetv2_50x1_bit":
        model.stages = model.stages[:1]
        model.norm, model.head = nn.Identity(), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    from brevitas_defakeq.prepare.plan import make_plan

    model.eval()
    images = torch.randn(1, 3, side, side)
    with torch.no_grad():
        wanted = model(images)
        plan = make_plan(model, images)
        torch.testing.assert_close(model(images), wanted, rtol=1e-4, atol=1e-4)
    assert plan.plain
    assert not any("Conv" in reason for reason in plan.left_float.values()), plan.left_float
