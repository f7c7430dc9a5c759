"""Handles on module trees leave the tree as they found it."""

import pytest
import torch
from torch import nn

from brevitas_defakeq.nn.module_tree import (
    eval_mode,
    modules_by_name,
    replace_module,
    replayed,
    restore_,
    snapshot,
)


def model():
    torch.manual_seed(0)
    shared = nn.Linear(4, 4)
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Sequential(shared, nn.ReLU(), shared))


def test_names_leave_the_root_out():
    made = model()
    assert list(modules_by_name(made)) == ["0", "1", "2", "2.0", "2.1"]


def test_a_module_is_replaced_wherever_it_hangs():
    made = model()
    new = nn.Identity()
    replace_module(made, made[2][0], new)
    assert made[2][0] is new and made[2][2] is new
    assert isinstance(made[0], nn.Linear)


def test_modes_come_back_even_after_an_exception():
    made = model().train()
    made[2].eval()
    before = [part.training for part in made.modules()]
    with pytest.raises(RuntimeError), eval_mode(made):
        assert not any(part.training for part in made.modules())
        raise RuntimeError
    assert [part.training for part in made.modules()] == before


def test_replayed_outputs_replace_the_run_and_end_with_it():
    made, x = model().eval(), torch.randn(2, 4)
    expected = made(x)
    fixed = torch.randn(2, 4)
    with replayed({made[0]: fixed}):
        assert torch.equal(made[0](x), fixed)
        assert torch.equal(made(x), made[1:](fixed))
    assert torch.equal(made(x), expected)
    with pytest.raises(RuntimeError), replayed({made[0]: fixed}):
        raise RuntimeError
    assert torch.equal(made(x), expected)


def test_a_forward_put_on_the_instance_survives_a_replay():
    made = model().eval()
    made[0].forward = lambda x: x + 1
    with replayed({made[0]: torch.zeros(2, 4)}):
        pass
    assert torch.equal(made[0](torch.zeros(1, 4)), torch.ones(1, 4))


def test_snapshot_and_restore_hold_parameters_and_buffers():
    made = model().train()
    saved = snapshot(made)
    expected = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    made(torch.randn(8, 4))  # moves the running statistics
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(1)
    assert not torch.equal(saved["0.weight"], made[0].weight), "a copy, not a view"
    restore_(made, saved)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in made.state_dict().items())
