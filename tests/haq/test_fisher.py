"""Fisher costs by hand, against gradients of both verdicts' likelihoods, and against the divergence."""

import copy
from importlib import import_module

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from brevitas_defakeq.haq.fisher import fisher_costs, fisher_diagonal
from brevitas_defakeq.haq.sensitivity import rounded
from brevitas_defakeq.haq.solver import monotone

BITS = (2, 4, 8)


def logit(output):
    return output[:, 1] - output[:, 0] if output.shape[1] == 2 else output[:, 0]


class Net(nn.Module):
    """A grouped convolution called twice, in-place steps, tokens; the last layer is left out of the logit."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.twice = nn.Conv2d(6, 6, 3, padding=1, groups=2)
        self.head = nn.Linear(6, 2)
        self.unused = nn.Linear(2, 2)

    def forward(self, x):
        x = F.relu_(self.stem(x))
        y = self.twice(F.relu(self.twice(x)))
        y += x
        y = self.head(y.flatten(2).mean(2))
        self.unused(y)
        return y


NAMES = ("stem", "twice", "head", "unused")


def layers(model):
    return {name: model.get_submodule(name) for name in NAMES}


def weights(model):
    return {name: layer.weight for name, layer in layers(model).items()}


@pytest.fixture
def model():
    return Net().eval().requires_grad_(False)


def batches():
    return (2 * torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(1))).split(2)


def test_by_hand():
    """z = w x with w = (log 3, 0): p = 3/4 and 1/4, so p (1 - p) = 3/16 on both images."""
    model = nn.Linear(2, 1, bias=False)
    model.weight.data = torch.tensor([[3.0, 1.0]]).log()
    images = torch.tensor([[1.0, 4.0], [-1.0, 0.0]])
    found = fisher_diagonal(model, {"": model.weight}, [images], logit)[""]
    torch.testing.assert_close(found, 3 / 16 * torch.tensor([[1.0, 8.0]]))
    costs = fisher_costs(model, {"": model}, [images], logit, (2, 8))[""]
    errors = [(rounded(model.weight, bits, False) - model.weight.data).square() for bits in (2, 8)]
    assert costs == pytest.approx(monotone([float((found * error).sum()) for error in errors]))


def test_it_is_the_expectation_over_both_verdicts(model):
    """Of the two classes of a softmax over (z, 0), each weighted with its probability."""
    found = fisher_diagonal(model, weights(model), batches(), logit)
    reference = copy.deepcopy(model).requires_grad_(True)
    wanted = {name: torch.zeros_like(weight) for name, weight in weights(reference).items()}
    for image in torch.cat(batches()):
        for verdict in (0, 1):
            score = logit(reference(image[None]))
            likelihoods = torch.stack([score, torch.zeros_like(score)], dim=1).log_softmax(dim=1)
            reference.zero_grad()
            likelihoods[0, verdict].backward()
            for name, weight in weights(reference).items():
                if weight.grad is not None:
                    wanted[name] += likelihoods[0, verdict].exp().detach() * weight.grad.square() / 5
    for name in NAMES:
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-4, atol=1e-9)
    assert not found["unused"].any() and found["stem"].all()


def test_half_of_it_is_the_divergence_of_a_small_change(model):
    model = model.double()
    images = torch.cat(batches()).double()
    found = fisher_diagonal(model, weights(model), [images], logit)["twice"]
    place, step = (3, 1, 1, 1), 1e-3
    before = logit(model(images))
    model.twice.weight.data[place] += step
    after = logit(model(images))
    log_p, log_q = (torch.stack([F.logsigmoid(z), F.logsigmoid(-z)], dim=1) for z in (before, after))
    divergence = (log_p.exp() * (log_p - log_q)).sum(1).mean()
    assert float(divergence) == pytest.approx(0.5 * float(found[place]) * step**2, rel=0.02)


@pytest.mark.parametrize("symmetric", [False, True])
def test_costs_fall_with_the_width_and_nothing_is_left_behind(model, symmetric):
    before = copy.deepcopy(model.state_dict())
    costs = fisher_costs(model, layers(model), batches(), logit, BITS, symmetric=symmetric)
    assert list(costs) == list(NAMES)
    for name in NAMES[:3]:
        assert costs[name][0] > costs[name][1] > costs[name][2] > 0, name
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(weight.requires_grad or weight.grad is not None for weight in model.parameters())


def test_a_confident_detector_has_nothing_to_lose():
    model = import_module("tiny_detector").model().requires_grad_(False)
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    found = {}
    for bias in (0.0, 6.0):
        model.head.bias.data.fill_(bias)
        found[bias] = fisher_costs(model, {"head": model.head}, [images], logit, (2,))["head"][0]
    assert 0 < found[6.0] < 0.05 * found[0.0]
