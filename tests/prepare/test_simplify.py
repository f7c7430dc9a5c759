"""Simplifications that a model's own code cannot live with are left out, one by one."""

import torch
from planned import plan_of
from small_networks import Net
from timm.layers import StdConv2d
from torch import nn
from torch.nn import functional as F

from brevitas_defakeq import load, quantize


def reads_its_norm(m, x):
    """Works on the norm's own numbers beside calling it."""
    x = m.first_norm(m.first(x)) * m.first_norm.weight.mean()
    return m.head(m.second_norm(m.second(x)).mean((2, 3)))


def multiplies_again(m, x):
    """Uses the convolution's weight a second time, where a folded norm would show."""
    y = m.first_norm(m.first(x)) + F.conv2d(x, m.first.weight)
    return m.head(m.second_norm(m.second(y)).mean((2, 3)))


def network(flow, first=None):
    return Net(
        flow,
        first=nn.Conv2d(3, 4, 3) if first is None else first, first_norm=nn.BatchNorm2d(4),
        second=nn.Conv2d(4, 4, 1), second_norm=nn.BatchNorm2d(4), head=nn.Linear(4, 1),
    )  # fmt: skip


def test_a_fold_that_breaks_the_model_is_left_out():
    for flow in (reads_its_norm, multiplies_again):
        plan, made = plan_of(network(flow))
        assert plan.folds == (("second", "second_norm"),), flow
        assert type(made.first_norm) is nn.BatchNorm2d


def test_a_replacement_that_breaks_the_model_leaves_the_layer_in_float():
    def flow(m, x):
        assert m.first.eps
        return multiplies_again(m, x)

    plan, made = plan_of(network(flow, first=StdConv2d(3, 4, 3, padding=0)))
    assert plan.plain == () and type(made.first) is StdConv2d
    assert "StdConv2d" in plan.left_float["first"]
    assert plan.folds == (("second", "second_norm"),)


def test_a_run_without_a_fold_loads_again(images, quick_config, tmp_path):
    torch.manual_seed(0)
    model = network(multiplies_again).eval()
    run = quantize(model, images, quick_config())
    run.save(tmp_path)
    loaded = load(tmp_path, model)
    torch.testing.assert_close(loaded.quantized(images), run.quantized(images))
