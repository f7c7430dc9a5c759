"""Norms of any class that compute what BatchNorm does, behind one layer or several."""

import pytest
import torch
from planned import plan_of
from small_networks import Net
from timm.layers import BatchNormAct2d
from timm.layers.norm_act import FrozenBatchNormAct2d, convert_sync_batchnorm
from torch import nn
from torch.nn import functional as F
from torchvision.ops import FrozenBatchNorm2d


class SameForward(nn.BatchNorm2d):
    def forward(self, x):
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class WithActivation(nn.BatchNorm2d):
    def __init__(self, channels):
        super().__init__(channels)
        self.activation = nn.SiLU()

    def forward(self, x):
        return self.activation(super().forward(x))


class FrozenInForward(nn.Module):
    """As published detection code writes it: all buffers, eps inside forward, in place."""

    def __init__(self, channels):
        super().__init__()
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((channels,), value))

    def forward(self, x):
        scale = self.weight * (self.running_var + 1e-5).rsqrt()
        return x.mul_(scale.view(1, -1, 1, 1)).add_((self.bias - self.running_mean * scale).view(1, -1, 1, 1))


class Clipped(nn.BatchNorm2d):
    """Differs only where the images do not reach."""

    def forward(self, x):
        return super().forward(x).clamp(-2, 2)


class ActivationUnused(nn.BatchNorm2d):
    """Its submodule is of no concern to its forward."""

    def __init__(self, channels):
        super().__init__(channels)
        self.act = nn.Tanh()


def network(norm):
    return Net(
        lambda m, x: m.head(m.norm(m.conv(x)).mean((2, 3))),
        conv=nn.Conv2d(3, 4, 3, bias=False), norm=norm, head=nn.Linear(4, 1),
    )  # fmt: skip


FOLDED = {
    "synchronized": (nn.SyncBatchNorm(4), nn.Identity),
    "timm's": (BatchNormAct2d(4, act_layer=nn.SiLU), nn.SiLU),
    "timm's, synchronized": (convert_sync_batchnorm(BatchNormAct2d(4, act_layer=nn.SiLU)), nn.SiLU),
    "timm's, frozen": (FrozenBatchNormAct2d(4, act_layer=nn.ReLU6), nn.ReLU6),
    "torchvision's, frozen": (FrozenBatchNorm2d(4), nn.Identity),
    "frozen in forward": (FrozenInForward(4), nn.Identity),
    "own, same forward": (SameForward(4), nn.Identity),
    "own, with activation": (WithActivation(4), nn.SiLU),
    "own, activation unused": (ActivationUnused(4), nn.Identity),
    "instance norm": (nn.InstanceNorm2d(4, affine=True, track_running_stats=True), nn.Identity),
}  # fmt: skip


@pytest.mark.parametrize("case", FOLDED)
def test_is_folded(case):
    norm, rest = FOLDED[case]
    plan, made = plan_of(network(norm))
    assert plan.folds == (("conv", "norm"),)
    assert type(made.norm) is rest


def test_another_function_is_not_folded():
    plan, made = plan_of(network(Clipped(4)))
    assert plan.folds == () and type(made.norm) is Clipped


def test_one_norm_behind_two_convolutions():
    model = Net(
        lambda m, x: m.head((m.norm(m.a(x)) + m.norm(m.b(x)).relu()).mean((2, 3))),
        a=nn.Conv2d(3, 4, 3), b=nn.Conv2d(3, 4, 3, bias=False), norm=nn.BatchNorm2d(4), head=nn.Linear(4, 1),
    )  # fmt: skip
    plan, made = plan_of(model)
    assert plan.folds == (("a", "norm"), ("b", "norm"))
    assert type(made.norm) is nn.Identity


def test_one_norm_behind_one_convolution_twice():
    model = Net(
        lambda m, x: m.head((m.norm(m.conv(x)) + m.norm(m.conv(x.flip(3)))).mean((2, 3))),
        conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4), head=nn.Linear(4, 1),
    )  # fmt: skip
    plan, _ = plan_of(model)
    assert plan.folds == (("conv", "norm"),)


@pytest.mark.parametrize(
    ("hooked", "kind", "folded"),
    [
        ("conv", "register_forward_hook", False),
        ("conv", "register_forward_pre_hook", True),
        ("norm", "register_forward_hook", False),
        ("norm", "register_forward_pre_hook", False),
    ],
)
def test_a_hook_keeps_its_norm(hooked, kind, folded):
    """Folded, the norm would no longer be there to run it, or would come before what it does."""
    model, seen = network(nn.BatchNorm2d(4)).eval(), []

    def hook(module, inputs, *outputs):
        seen.append(type(module).__name__)
        return

    getattr(model.get_submodule(hooked), kind)(hook)
    image = torch.randn(1, 3, 8, 8)
    plan, prepared = plan_of(model)
    with torch.no_grad():
        wanted = model(image)
        seen.clear()
        torch.testing.assert_close(prepared(image), wanted)
    assert plan.folds == ((("conv", "norm"),) if folded else ())
    assert seen == ["Conv2d" if hooked == "conv" else "BatchNorm2d"]
