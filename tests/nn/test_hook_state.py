"""What hooks put aside is as it was after a pass over a part of the network."""

import torch
from odd_models import Collector
from torch import nn

from brevitas_defakeq.nn.hook_state import HookState, has_hooks_inside


def test_lists_and_dicts_of_hooks_come_back():
    model, named, state = nn.Sequential(nn.ReLU(), nn.Tanh()), {"kept": 1}, []
    collector = Collector([model[0]])
    model[1].register_forward_hook(lambda module, inputs, output: named.update(new=output))
    before = HookState(model)
    model[1].register_forward_hook(lambda module, inputs, output: state.append(output))  # registered later
    model(torch.ones(1))
    assert (len(collector.found), len(named), len(state)) == (1, 2, 1)
    before.restore()
    assert (collector.found, named, len(state)) == ([], {"kept": 1}, 1)
    model(torch.ones(1))
    collector.taken()
    model(torch.ones(1))
    before.restore()
    assert collector.found == []


def test_hooks_inside_leave_the_module_itself_out():
    model = nn.Sequential(nn.Sequential(nn.ReLU()))
    assert not has_hooks_inside(model)
    model.register_forward_hook(lambda *_: None)
    assert not has_hooks_inside(model)
    model[0][0].register_forward_hook(lambda *_: None)
    assert has_hooks_inside(model) and has_hooks_inside(model[0]) and not has_hooks_inside(model[0][0])
