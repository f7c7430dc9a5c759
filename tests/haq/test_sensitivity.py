"""Costs of a width: HAQ's by hand, Taylor's by explicit gradients, the measured by full recomputation."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from brevitas_defakeq.haq.sensitivity import haq_costs, measured_costs, random_costs, rounded, taylor_costs
from brevitas_defakeq.haq.solver import monotone, solve

BITS = (1.6, 2, 4, 8)


def logit(output):
    return output[:, 1] - output[:, 0]


class Net(nn.Module):
    """Convolutions (one grouped, one called twice), tokens, in-place steps between blocks."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.block = nn.Sequential(
            nn.Conv2d(6, 6, 3, padding=1, groups=2), nn.ReLU(inplace=True), nn.Conv2d(6, 6, 1)
        )
        self.twice = nn.Conv2d(6, 6, 1)
        self.tokens = nn.Linear(6, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        x = self.stem(x)
        x = F.relu_(x)
        y = self.block(x)
        y += x  # in place on a block's output
        y = self.twice(F.relu(self.twice(y)))
        y = self.tokens(y.flatten(2).transpose(1, 2))
        y.mul_(2.0).relu_()
        return self.head(y.mean(1))


NAMES = ("stem", "block.0", "block.2", "twice", "tokens", "head")
BLOCKS = [
    ("stem", ["stem"]),
    ("block", ["block.0", "block.2"]),
    ("twice", ["twice"]),
    ("tokens", ["tokens"]),
    ("head", ["head"]),
]


@pytest.fixture
def model():
    return Net().eval().requires_grad_(False)


def layers(model):
    modules = dict(model.named_modules())
    return {name: modules[name] for name in NAMES}


def batches():
    return torch.randn(6, 3, 5, 5, generator=torch.Generator().manual_seed(1)).split(2)


def test_haq_costs_by_hand():
    costs = haq_costs({"a": 3.0, "b": 1.0}, (1.6, 2, 3), 2.0)
    assert costs["a"] == pytest.approx([1.0, 0.75, 0.375])  # three levels: 2^-log2(3) = 1/3
    assert costs["b"] == pytest.approx([1 / 3, 0.25, 0.125])
    assert haq_costs({"a": 1.0}, (2, 4), 4.0)["a"] == [1 / 16, 1 / 256]


SIZES = {f"layer{index}": size for index, size in enumerate([40, 700, 90, 900, 300, 60, 500, 800])}


def widths_at_random(seed, average=4.0):
    return solve(random_costs(SIZES, (2, 3, 4, 6, 8), seed), SIZES, (2, 3, 4, 6, 8), average)


def test_random_widths_use_up_the_budget_and_repeat():
    total, wider = sum(SIZES.values()), {2: 3, 3: 4, 4: 6, 6: 8}
    drawn = [widths_at_random(seed) for seed in range(30)]
    for seed, widths in enumerate(drawn):
        used = sum(bits * SIZES[name] for name, bits in widths.items())
        assert used <= 4 * total
        for name, bits in widths.items():
            more = (wider.get(bits, bits) - bits) * SIZES[name]
            assert more == 0 or used + more > 4 * total, "the budget has bits left"
        assert widths_at_random(seed) == widths
    assert len({tuple(widths.values()) for widths in drawn}) > 25


def test_random_widths_hardly_hang_on_the_size():
    """Only what is left of the budget in the end fits a small layer sooner than a large one."""
    drawn = [widths_at_random(seed) for seed in range(40)]
    mean = {name: sum(widths[name] for widths in drawn) / 40 for name in SIZES}
    assert max(mean.values()) - min(mean.values()) < 2, mean
    assert all(len({widths[name] for widths in drawn}) >= 4 for name in SIZES), "every layer varies"


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("bits", BITS)
def test_rounded_weights_lie_on_a_grid_of_that_many_levels(bits, symmetric):
    weight = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    out = rounded(weight, bits, symmetric)
    assert out.shape == weight.shape
    levels = 3 if bits == 1.6 else 2**bits
    levels = max(levels - 1, 3) if symmetric else levels
    for row, original in zip(out.flatten(1), weight.flatten(1), strict=True):
        values = row.unique()
        assert len(values) <= levels
        steps = values.diff()
        step = float(steps.min()) if len(values) > 1 else 1.0
        torch.testing.assert_close((steps / step).round() * step, steps, rtol=1e-3, atol=1e-5)
        assert float((row - original).square().mean()) < float(original.square().mean())


@pytest.mark.parametrize("training_parameters", [False, True])
def test_taylor_against_explicit_gradients_image_by_image(model, training_parameters):
    found = taylor_costs(model.requires_grad_(training_parameters), layers(model), batches(), logit, BITS)
    assert list(found) == list(NAMES)
    reference = copy.deepcopy(model).requires_grad_(True)
    for name, layer in layers(reference).items():
        totals = torch.zeros(len(BITS), dtype=torch.float64)
        for image in torch.cat(batches()):
            (gradient,) = torch.autograd.grad(logit(reference(image[None]))[0], layer.weight)
            for index, bits in enumerate(BITS):
                change = rounded(layer.weight, bits, False) - layer.weight
                totals[index] += (gradient * change).sum().item() ** 2
        expected = monotone((totals / 6).tolist())
        assert found[name] == pytest.approx(expected, rel=1e-3), name


def test_taylor_leaves_nothing_behind(model):
    model.requires_grad_(True)
    before = copy.deepcopy(model.state_dict())
    taylor_costs(model, layers(model), batches(), logit, BITS)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(part._forward_hooks for part in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def recomputed(model, name, bits, matching, symmetric=False):
    """The whole network run again with one layer rounded, and matched per batch if asked."""
    total = 0.0
    for batch in batches():
        changed = copy.deepcopy(model)
        layer = layers(changed)[name]
        targets = []
        handle = layer.register_forward_hook(
            lambda _, __, output, targets=targets: targets.append(output.clone())
        )
        reference = logit(changed(batch))
        handle.remove()
        layer.weight.data = rounded(layer.weight, bits, symmetric)
        if matching != "none" and len(targets) == 1:
            dims = (0, 2, 3) if targets[0].dim() == 4 else tuple(range(targets[0].dim() - 1))

            def match(_, __, output, dims=dims, target=targets[0]):
                wanted, present = (
                    torch.std_mean(t, dims, correction=0, keepdim=True) for t in (target, output)
                )
                gain = wanted[0] / present[0]
                if matching == "regression":
                    product = ((target - wanted[1]) * (output - present[1])).mean(dims, keepdim=True)
                    gain = product / present[0].square()
                return (output - present[1]) * gain.clamp(0.25, 4.0) + wanted[1]

            layer.register_forward_hook(match)
        total += float((logit(changed(batch)) - reference).square().sum())
    return total / 6


@pytest.mark.parametrize("matching", ["none", "moments", "regression"])
def test_measured_against_full_recomputation(model, matching):
    found = measured_costs(model, layers(model), BLOCKS, batches(), logit, BITS, matching=matching)
    assert list(found) == list(NAMES)
    for name in NAMES:
        expected = monotone([recomputed(model, name, bits, matching) for bits in BITS])
        assert found[name] == pytest.approx(expected, rel=2e-3, abs=1e-9), name
    assert found["block.0"][0] > found["block.0"][-1]


def test_measured_symmetric_counts_layers_and_leaves_nothing_behind(model):
    before = copy.deepcopy(model.state_dict())
    expected = model(batches()[0])
    steps = []
    found = measured_costs(
        model,
        layers(model),
        BLOCKS,
        batches(),
        logit,
        (2, 4),
        matching="moments",
        symmetric=True,
        progress=steps.append,
    )
    assert sum(steps) == len(NAMES)
    plain = monotone([recomputed(model, "tokens", bits, "moments", symmetric=True) for bits in (2, 4)])
    assert found["tokens"] == pytest.approx(plain, rel=2e-3)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(part._forward_hooks or "forward" in part.__dict__ for part in model.modules())
    assert torch.equal(model(batches()[0]), expected)
    assert expected.shape == (2, 2)
