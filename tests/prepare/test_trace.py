"""The trace: order, calls and readers, on models whose data flow is known."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from brevitas_defakeq.prepare.trace import tensors_in, trace
from brevitas_defakeq.utils.errors import UserError

IMAGES = torch.randn(2, 3, 8, 8)


class Reversed(nn.Module):
    """Called in another order than defined; one layer twice, one never; in training mode outside."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(4, 1)
        self.twice = nn.Linear(4, 4)
        self.never = nn.Linear(4, 4)
        self.first = nn.Conv2d(3, 4, 3)
        self.scale = nn.Parameter(torch.ones(4))
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        x = self.first(x).mean((2, 3))
        x = self.twice(F.relu(self.twice(x)))
        return {"logit": self.last(self.drop(x * self.scale)), "extra": [x]}


def test_calls_in_order_of_the_first():
    model = Reversed().train()
    traced = trace(model, IMAGES)
    assert list(traced.calls) == ["first", "twice", "drop", "last"]
    assert [len(calls) for calls in traced.calls.values()] == [1, 2, 1, 1]
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert torch.equal(traced.output["logit"], model.eval()(IMAGES)["logit"]), "traced in evaluation mode"


def test_readers():
    model = Reversed()
    traced = trace(model, IMAGES)
    assert traced.readers_of(model.scale) == ["mul"]
    assert traced.readers_of(model.twice.weight) == ["linear", "linear"]
    assert traced.readers_of(model.never.weight) == []
    assert traced.readers_of(traced.calls["first"][0].output) == ["mean"]


def test_single_tensor_calls():
    class Pair(nn.Module):
        def forward(self, a, b=None, flag=True):
            return a if b is None else (a, b)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.plain, self.two, self.options = Pair(), Pair(), Pair()

        def forward(self, x):
            self.two(x, b=x)
            return self.options(self.plain(x), flag=False)

    traced = trace(Model(), IMAGES)
    single = {name: calls[0].single_tensor() for name, calls in traced.calls.items()}
    assert single == {"plain": True, "two": False, "options": True}


def test_tensors_in_nested_values():
    a, b, c = (torch.zeros(1) for _ in range(3))
    assert list(map(id, tensors_in(({"x": a, "y": [b, 3]}, c, "no")))) == [id(a), id(b), id(c)]


def test_a_model_that_cannot_run_is_the_users_error():
    model = Reversed()
    with pytest.raises(UserError, match="2x1x8x8.*--input-size"):
        trace(model, torch.zeros(2, 1, 8, 8))
    assert not any(module._forward_hooks for module in model.modules())
