"""What a model holds besides its module tree follows a copy, and a layer that is replaced."""

import functools
import weakref
from types import MethodType

import pytest
import torch
from torch import nn

from brevitas_defakeq.nn.module_tree import copy_module, replace_modules
from brevitas_defakeq.utils.errors import UserError

ONE = torch.ones(1, 1)


def scale(factor: float) -> nn.Linear:
    """``factor * x``."""
    layer = nn.Linear(1, 1, bias=False)
    layer.weight = nn.Parameter(torch.tensor([[float(factor)]]))
    return layer


class Held(nn.Module):
    """Calls ``layer``, doubled, in the way that ``hold`` sets up."""

    def __init__(self, hold):
        super().__init__()
        self.layer = scale(3)
        hold(self)

    def double(self, x):
        return 2 * self.layer(x)

    def forward(self, x):
        return self.fn(x)


class Child(nn.Module):
    """Reaches its parent's layer by a weak reference."""

    def __init__(self, parent):
        super().__init__()
        self.parent = weakref.ref(parent)

    def forward(self, x):
        return self.parent().double(x)


class Helper:
    """No module, but holds one."""

    def __init__(self, layer):
        self.layers = {"only": (layer,)}

    def __call__(self, x):
        return 2 * self.layers["only"][0](x)


def _method(self):
    self.fn = self.double


def _part(self):
    self.fn = functools.partial(torch.mul, other=2)
    self.inner = functools.partial(lambda layer, x: layer(x), self.layer)
    outer = self.fn
    self.fn = lambda x: outer(self.inner(x))


def _forward_of_a_child(self):
    self.parts = [self.layer.forward, {"double": lambda x: 2 * x}]
    self.fn = lambda x: self.parts[1]["double"](self.parts[0](x))


def _list(self):
    self.layers = [self.layer]
    self.fn = lambda x: 2 * self.layers[0](x)


def _decorated(self):
    def twice(function):
        @functools.wraps(function)
        def run(x, *, own=self.layer):
            return function(x) + own(x)

        return run

    self.fn = twice(self.layer)


def _recursive(self):
    def add(x, times):
        return self.layer(x) + add(x, times - 1) if times else 0

    self.fn = lambda x: add(x, 2)


def _weak(self):
    self.child = Child(self)
    self.fn = self.child


def _helper(self):
    self.fn = Helper(self.layer)


def _patched(self):
    self.fn = self.layer
    old = self.layer.forward
    self.layer.forward = lambda x: 2 * old(x)


def _bound_later(self):
    self.fn = MethodType(lambda own, x: own.double(x), self)


def _compiled(self):
    self.fn = torch.compile(self.double, backend="eager")


WAYS = [
    _method, _part, _forward_of_a_child, _list, _decorated, _recursive, _weak, _helper, _bound_later,
    _compiled,
]  # fmt: skip


@pytest.mark.parametrize("hold", [*WAYS, _patched])
def test_a_copy_calls_its_own_layers(hold):
    model = Held(hold)
    copied = copy_module(model)
    with torch.no_grad():
        copied.layer.weight.fill_(5)
        assert copied(ONE).item() == 10
        assert model(ONE).item() == 6
        copy_of_it = copy_module(copied)
        copied.layer.weight.fill_(7)
        assert copy_of_it(ONE).item() == 10


@pytest.mark.parametrize("hold", WAYS)
def test_a_replaced_layer_is_called_everywhere(hold):
    model = Held(hold)
    copied = copy_module(model)
    replace_modules(copied, {copied.layer: scale(11)})
    assert copied(ONE).item() == 22
    assert model(ONE).item() == 6


def test_a_function_that_cannot_be_made_anew_is_named():
    def hold(self):
        self.fn = functools.lru_cache(self.double)

    with pytest.raises(UserError, match="^fn of the detector holds a _lru_cache_wrapper with modules"):
        copy_module(Held(hold))


def test_a_method_that_the_new_layer_lacks_is_named():
    class Own(nn.Linear):
        def twice(self, x):
            return 2 * self(x)

    def hold(self):
        self.layer = Own(1, 1)
        self.fn = self.layer.twice

    model = Held(hold)
    with pytest.raises(UserError, match="^fn of the detector holds the method twice of a Own"):
        replace_modules(model, {model.layer: scale(1)})


def test_variables_that_two_functions_share_stay_shared():
    def hold(self):
        calls = 0

        def count(x):
            nonlocal calls
            calls += 1
            return self.layer(x)

        self.fn, self.counted = count, lambda: (calls, self.layer)[0]

    model = Held(hold)
    copied = copy_module(model)
    copied(ONE), copied(ONE), model(ONE)
    assert (copied.counted(), model.counted()) == (3, 3), "one integer variable: not of the model's"


def test_what_a_hook_puts_aside_is_read_by_the_copy():
    class Aside(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.kept = scale(3), {}
            self.layer.register_forward_hook(lambda module, inputs, output: self.kept.update(found=output))

        def forward(self, x):
            self.layer(x)
            return self.kept["found"]

    model = Aside()
    copied = copy_module(model)
    with torch.no_grad():
        copied.layer.weight.fill_(5)
    assert copied(ONE).item() == 5
    assert not model.kept, "the copy wrote to the original's"
    replace_modules(copied, {copied.layer: scale(7)})
    assert copied(2 * ONE).item() == 14


def test_hooks_move_to_the_new_layer_and_stay_on_the_users():
    model = nn.Sequential(scale(3))
    model[0].register_forward_pre_hook(lambda module, inputs: (inputs[0] + 1,))
    model[0].register_forward_hook(lambda module, inputs, options, output: 10 * output, with_kwargs=True)
    copied = copy_module(model)
    replace_modules(copied, {copied[0]: scale(5)})
    assert copied(ONE).item() == 100  # 10 * 5 * (1 + 1)
    assert model(ONE).item() == 60
    assert len(model[0]._forward_hooks) == len(model[0]._forward_pre_hooks) == 1


def test_hooks_of_a_wrapper_run_around_those_of_what_is_inside():
    inner, order = scale(1), []
    wrapper = nn.Sequential(inner)
    for name, part in (("inner", inner), ("outer", wrapper)):
        part.register_forward_pre_hook(lambda *_, name=name: order.append(f"before {name}"))
        part.register_forward_hook(lambda *_, name=name: order.append(f"after {name}"))
    model = nn.Sequential(wrapper)
    replace_modules(model, {wrapper: inner})
    model(ONE)
    assert order == ["before outer", "before inner", "after inner", "after outer"]
