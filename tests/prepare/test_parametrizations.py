"""Weights that a parametrization, an old hook or pruning computes: plain parameters in the prepared copy."""

import warnings

import pytest
import torch
from planned import plan_of
from small_networks import Net
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.nn.utils import spectral_norm as old_spectral_norm
from torch.nn.utils import weight_norm as old_weight_norm

from brevitas_defakeq import load, quantize
from brevitas_defakeq.prepare.parametrizations import remove_parametrizations_


class Symmetric(nn.Module):
    def forward(self, weight):
        return weight.triu() + weight.triu(1).T


class Doubled(nn.Module):
    """Not idempotent: applied to its own result it gives another one."""

    def forward(self, weight):
        return 2 * weight


def network(norm=None):
    """conv, norm, conv, pooled, head."""
    torch.manual_seed(0)
    return Net(
        lambda m, x: m.head(m.norm(m.second(m.first(x).relu())).mean((2, 3))),
        first=nn.Conv2d(3, 4, 3), second=nn.Conv2d(4, 4, 3, bias=False),
        norm=nn.BatchNorm2d(4) if norm is None else norm, head=nn.Linear(4, 4),
    )  # fmt: skip


def _old(apply):
    def wrapped(module):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            apply(module)

    return wrapped


KINDS = {
    "weight norm": parametrizations.weight_norm,
    "spectral norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "own": lambda module: parametrize.register_parametrization(module, "weight", Doubled()),
    "bias": lambda module: parametrize.register_parametrization(module, "bias", Doubled()),
    "weight norm by hooks": _old(old_weight_norm),
    "spectral norm by hooks": _old(old_spectral_norm),
    "pruned": lambda module: prune.l1_unstructured(module, "weight", 0.5),
    "pruned twice": lambda module: [prune.random_unstructured(module, "weight", 0.3) for _ in range(2)],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frozen", [False, True])
def test_every_layer_is_quantized_under_its_own_name(kind, frozen):
    model = network()
    for name in ("first", "second", "head"):
        layer = model.get_submodule(name)
        if kind != "bias" or layer.bias is not None:
            KINDS[kind](layer)
    model.requires_grad_(not frozen)
    plan, made = plan_of(model)
    assert [layer.name for layer in plan.layers] == ["first", "second", "head"]
    assert plan.left_float == {}
    assert plan.folds == (("second", "norm"),)
    assert {name for name, _ in made.named_parameters()} == {
        f"{layer}.{part}" for layer in ("first", "second", "head") for part in ("weight", "bias")
    }


def test_computed_weights_are_not_taken_for_shared_ones():
    model = Net(lambda m, x: m.b(m.a(x.mean((2, 3)))), a=nn.Linear(3, 3), b=nn.Linear(3, 3))
    for part in (model.a, model.b):
        parametrize.register_parametrization(part, "weight", Symmetric())
    plan, made = plan_of(model)
    assert plan.left_float == {}
    assert torch.equal(made.a.weight, made.a.weight.T)


def test_an_original_that_two_parametrizations_share():
    model = Net(lambda m, x: m.b(m.a(x.mean((2, 3)))), a=nn.Linear(3, 3), b=nn.Linear(3, 3))
    for part in (model.a, model.b):
        parametrize.register_parametrization(part, "weight", Doubled())
    model.b.parametrizations.weight.original = model.a.parametrizations.weight.original
    plan_of(model)


def test_a_recurrent_layer_and_a_parametrized_buffer():
    model = nn.LSTM(3, 4)
    parametrizations.weight_norm(model, "weight_hh_l0")
    norm = nn.BatchNorm1d(3)
    parametrize.register_parametrization(norm, "running_mean", Doubled())
    norm.eval()
    inputs = torch.randn(5, 2, 3)
    wanted, normed = model(inputs)[0], norm(inputs[0])
    remove_parametrizations_(model)
    remove_parametrizations_(norm)
    torch.testing.assert_close(model(inputs)[0], wanted)
    torch.testing.assert_close(norm(inputs[0]), normed)
    assert "weight_hh_l0" in model._parameters and "running_mean" in norm._buffers


def test_results_kept_with_their_gradient_do_not_hinder_a_copy():
    model = network()
    model.kept = [{"map": model.first.weight * 2}]
    plan, made = plan_of(model)
    assert torch.equal(made.kept[0]["map"], 2 * model.first.weight)
    assert not made.kept[0]["map"].requires_grad and model.kept[0]["map"].requires_grad


def parametrized():
    model = network()
    parametrizations.weight_norm(model.first)
    parametrizations.spectral_norm(model.second)
    _old(old_spectral_norm)(model.head)
    return model.eval()


def test_a_run_loads_into_a_parametrized_architecture(images, quick_config, tmp_path):
    model = parametrized()
    run = quantize(model, images, quick_config())
    assert set(run.bits) == {"first", "second", "head"}
    run.save(tmp_path)
    loaded = load(tmp_path, parametrized())
    torch.testing.assert_close(loaded.quantized(images), run.quantized(images))
    assert parametrize.is_parametrized(model.first, "weight")
    assert model(images).isfinite().all(), "copies share the class of a parametrized module"
