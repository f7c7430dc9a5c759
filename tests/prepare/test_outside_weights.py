"""Weights that are read and are not the model's: refused where they are the original's, else said."""

import pytest
import torch
from small_networks import Net
from torch import nn

from brevitas_defakeq.nn.module_tree import copy_module
from brevitas_defakeq.prepare.outside_weights import WeightsRead
from brevitas_defakeq.utils.errors import UserError

#: As a notebook's variables are, which no copy can lead elsewhere.
GLOBAL: dict[str, nn.Module] = {}


def check(model):
    copied = copy_module(model)
    with WeightsRead() as read:
        copied(torch.zeros(1, 4))
    read.check(copied, model)


def test_a_global_that_leads_back_to_the_original_is_refused():
    GLOBAL["model"] = Net(lambda self, x: GLOBAL["model"].head(x), head=nn.Linear(4, 2))
    with pytest.raises(UserError, match="still reads head.weight of the detector itself"):
        check(GLOBAL["model"])


def test_an_unregistered_layer_is_said(caplog):
    hidden = [nn.Linear(4, 4)]
    model = Net(lambda self, x: self.head(self.hidden[0](x)), head=nn.Linear(4, 2))
    model.hidden = hidden
    check(model)
    assert "reads 2 weights (4x4, 4) that no module of the detector holds" in caplog.text
    caplog.clear()
    check(Net(lambda self, x: self.head(x), head=nn.Linear(4, 2)))
    assert not caplog.text
