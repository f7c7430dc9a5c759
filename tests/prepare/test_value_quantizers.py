"""Values quantized as they arise: it does not matter how a network is written."""

import copy

import pytest
import torch
from peoples_fpga_models import MAPPED, RESIDUALS, residual, warmed
from small_networks import Net
from torch import nn
from torch.nn import functional as F

from brevitas_defakeq.float_reference import copy_module
from brevitas_defakeq.nn.module_tree import recomputed
from brevitas_defakeq.prepare.calibrate import calibrate_, quantization_off
from brevitas_defakeq.prepare.hardware_quantizers import quantizer_at
from brevitas_defakeq.prepare.insert_quantizers import QuantScheme, insert_quantizers_
from brevitas_defakeq.prepare.plan import make_plan
from brevitas_defakeq.prepare.value_quantizers import add_value_quantizer_
from brevitas_defakeq.quant.activation_quantizer import activation_grid, activation_proxies, code_range

IMAGES = torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def quantized(model):
    """The plan, and the calibrated quantized network."""
    copied = copy_module(model).eval()
    plan = make_plan(copied, IMAGES[:2].clone())
    insert_quantizers_(copied, plan, QuantScheme((4,), 8, symmetric=True))
    copied.eval()
    calibrate_(copied, activation_proxies(copied), IMAGES.split(8), count=2)
    return plan, copied


@torch.no_grad()
def scores(model):
    return model(IMAGES.clone()).flatten()


def grids(plan, model) -> list:
    """Step and range of all quantizers, group by group, without their places."""
    found = []
    for group in plan.grids.shared:
        proxies = [quantizer_at(model, site) for site in group]
        found.append(
            sorted((round(float(activation_grid(proxy)[0]), 6), code_range(proxy)) for proxy in proxies)
        )
    return sorted(found)


@pytest.fixture(scope="module")
def plainly():
    """The residual network with one module for every operation."""
    model = residual("modules")
    return scores(model), *quantized(model)


@pytest.mark.parametrize("name", RESIDUALS)
def test_one_network_written_in_many_ways_gets_the_same_quantizers_and_scores(name, plainly):
    wanted, plan, reference = plainly
    model = residual(name)
    assert torch.allclose(scores(model), wanted, atol=1e-6), "the float networks are one"
    found, network = quantized(model)
    assert grids(found, network) == grids(plan, reference)
    assert len(found.grids.ready) == len(plan.grids.ready)
    assert len(found.grids.positive) == len(plan.grids.positive)
    assert torch.allclose(scores(network), scores(reference), atol=1e-6)
    assert not torch.equal(scores(network), wanted), "and it is quantized"


@pytest.mark.parametrize("make", MAPPED)
def test_switched_off_they_are_the_float_network(make):
    torch.manual_seed(0)
    model = warmed(make())
    _, network = quantized(model)
    with quantization_off(network):
        torch.testing.assert_close(scores(network), scores(model), atol=1e-5, rtol=1e-4)


# The events of a forward -------------------------------------------------------------------------------


class Tenfold(nn.Module):
    """A stand-in for a quantizer."""

    def forward(self, x):
        return 10 * x


def watched(flow, event, callees=(), **parts):
    model = Net(flow, **parts)
    add_value_quantizer_(model, event, Tenfold(), callees)
    return model


def test_functions_and_calls_are_counted_and_what_callees_do_is_not():
    inner = nn.Sequential(nn.ReLU(), nn.ReLU(), nn.ReLU())
    model = watched(lambda m, x: m.inner(x + 1) + m.inner(x), "3", ("inner",), inner=inner)
    assert model(torch.ones(1)).item() == 2 + 10, "x + 1, inner, inner"
    assert model(torch.ones(1)).item() == 2 + 10, "counted anew"
    assert watched(lambda m, x: x * x.shape[0] + x.dim(), "2")(torch.ones(1)).item() == 20, "x * 1, + 1"


@pytest.mark.parametrize(
    "change",
    [lambda m, x: x.add_(1), lambda m, x: F.relu(x, inplace=True), lambda m, x: m.act(x),
     lambda m, x: x.__iadd__(1)],
)  # fmt: skip
def test_what_is_changed_in_place_is_quantized_in_place(change):
    def flow(m, x):
        x = m.first(x)
        change(m, x)
        return x

    parts = {"first": nn.Linear(2, 2), "act": nn.ReLU(inplace=True)}
    model, x = watched(flow, "2", ("first", "act"), **parts), torch.randn(5, 2)
    plain = Net(flow, **parts)
    assert torch.equal(model(x), 10 * plain(x))
    model(x).sum().backward()
    slope = parts["first"].weight.grad.clone()
    parts["first"].weight.grad = None
    plain(x).sum().backward()
    assert torch.allclose(slope, 10 * parts["first"].weight.grad)


def test_copies_are_on_their_own():
    model = watched(lambda m, x: m.part(x) + 1, "2", ("part",), part=nn.Identity())
    copied = copy.deepcopy(model)
    copied.part = nn.Sequential(nn.ReLU(), nn.ReLU())
    model.value_quants["2"] = nn.Identity()
    assert copied(torch.ones(1)).item() == 20 and model(torch.ones(1)).item() == 2


def test_after_an_exception_nothing_is_left_behind():
    def flow(m, x):
        return m.part(x) + 1

    model = watched(flow, "2", ("part",), part=nn.Linear(1, 1, bias=False))
    nn.init.ones_(model.part.weight)
    with pytest.raises(RuntimeError):
        model(torch.ones(3))
    assert not model.part._forward_hooks and not model.part._forward_pre_hooks
    assert model(torch.ones(1)).item() == 20


def test_a_recomputed_forward_is_quantized_too():
    model = nn.Sequential(watched(lambda m, x: F.relu(x) ** 2, "1"))
    x = torch.ones(1, requires_grad=True)
    with recomputed([model[0]]):
        y = model(x)
        y.backward()
    assert (y.item(), x.grad.item()) == (100, 200)


def test_a_sequence_goes_past_its_quantizers():
    model = nn.Sequential(nn.ReLU(), nn.Flatten())
    add_value_quantizer_(model, "1", Tenfold(), ("0", "1"))
    assert model(torch.ones(1, 1)).item() == 10
