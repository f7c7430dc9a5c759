"""Prefixes before the names of either side."""

import pytest
import torch
from torch import nn

from brevitas_defakeq.detectors.key_prefix import Renaming, best_renaming
from brevitas_defakeq.detectors.load_weights import load_state
from brevitas_defakeq.utils.errors import UserError


def plain():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 1))


class Wrapped(nn.Module):
    def __init__(self, name):
        super().__init__()
        self.add_module(name, plain())


def shapes_of(model):
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize(
    ("file", "model", "renaming"),
    [
        (plain(), plain(), Renaming()),
        (plain(), Wrapped("net"), Renaming(added="net.")),
        (Wrapped("detector"), plain(), Renaming(removed="detector.")),
        (Wrapped("encoder"), Wrapped("net"), Renaming("encoder.", "net.")),
        (Wrapped("net"), Wrapped("net"), Renaming()),
        (nn.Sequential(Wrapped("student")), plain(), Renaming("0.student.")),
    ],
)
def test_found_on_either_side(file, model, renaming):
    state = file.state_dict()
    assert best_renaming(state, shapes_of(model)) == renaming
    assert list(renaming(state)) == list(model.state_dict())


def test_a_head_without_the_prefix(tmp_path):
    """Only the backbone's names have it."""
    model = nn.ModuleDict({"conv": nn.Conv2d(3, 4, 3), "fc": nn.Linear(4, 1)})
    state = model.state_dict()
    named = {name if name.startswith("fc") else f"features.{name}": state[name] for name in state}
    renaming = best_renaming(named, shapes_of(model))
    assert renaming == Renaming("features.") and renaming(named).keys() == state.keys()


def test_said_in_one_line(caplog):
    model, weights = Wrapped("net"), plain().state_dict()
    load_state(model, weights, source="a.pth")
    assert all(torch.equal(model.state_dict()[f"net.{name}"], weights[name]) for name in weights)
    (record,) = caplog.records
    assert record.message == "a.pth: 'net.' is put before its names, so that all fit"


def test_two_networks_in_a_file_are_not_mixed(caplog):
    """Student and teacher: one of them has to be left out, and the message says how."""
    pair = nn.ModuleDict({"student": plain(), "teacher": plain()}).state_dict()
    with pytest.raises(UserError, match=r"add --ignore-keys 'teacher\.\*'"):
        load_state(plain(), pair, source="a.pth")
    assert not caplog.records
