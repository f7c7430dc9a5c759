"""The float detector's own copy: layout, finite values, and failures that are its own."""

import pytest
import torch
from small_networks import Net
from torch import nn

from brevitas_defakeq.detectors.resolve import Detector
from brevitas_defakeq.float_reference import as_planned, prepare_float
from brevitas_defakeq.utils.errors import UserError

EXAMPLE = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def prepared(model: nn.Module):
    return prepare_float(Detector(model.eval(), "it", None), EXAMPLE)


def by_view(self, x):
    return self.head(self.body(x).view(len(x), -1))


def by_memory(self, x):
    """The first values in memory, whatever the layout."""
    x = self.body(x)
    return self.head(x.as_strided((len(x), 288), (288, 1)))


@pytest.mark.parametrize("flow", [by_view, by_memory])
def test_a_model_that_channels_last_breaks_stays_contiguous(flow):
    model = Net(flow, body=nn.Conv2d(3, 8, 3), head=nn.Linear(288, 1))
    reference, plan, observer = prepared(model)
    assert plan.contiguous and type(plan).from_dict(plan.to_dict()) == plan
    images = torch.randn(4, 3, 8, 8)
    wanted = model(images.clone())[:, 0]
    for network in (reference, as_planned(model, plan)):
        found = observer(network, images.contiguous(memory_format=torch.channels_last))[0]
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_any_other_model_is_channels_last():
    reference, plan, _ = prepared(Net(lambda self, x: self.body(x).mean((2, 3)), body=nn.Conv2d(3, 1, 3)))
    assert not plan.contiguous and not plan.changes_batch and not reference._forward_pre_hooks
    assert reference.body.weight.is_contiguous(memory_format=torch.channels_last)


def head_of(self, x):
    return self.head(x.mean((2, 3)))


def test_masks_and_unread_values_need_not_be_finite():
    model = Net(head_of, head=nn.Linear(3, 1), unread=nn.Linear(2, 2))
    model.register_buffer("mask", torch.full((2, 2), float("-inf")))
    nn.init.constant_(model.unread.weight, float("nan"))
    _, plan, _ = prepared(model)
    assert [layer.name for layer in plan.layers] == ["head"]


def behind_relu(self, x):
    return self.head(self.body(x.mean((2, 3))).relu())


@pytest.mark.parametrize(("value", "name"), [("nan", "body.bias"), ("-inf", "body.bias")])
def test_values_that_count_have_to_be_finite(value, name):
    model = Net(behind_relu, body=nn.Linear(3, 3), head=nn.Linear(3, 1))
    nn.init.constant_(model.body.bias, float(value))
    with pytest.raises(UserError, match=f"weight {name} holds .*the checkpoint is broken"):
        prepared(model)


@pytest.mark.parametrize(
    "error", [KeyError("image"), NotImplementedError(), AssertionError("224 expected\nhere")]
)
def test_a_failure_of_the_model_itself_is_told_in_one_line(error):
    def fails(self, x):
        raise error

    with pytest.raises(UserError, match="cannot be run on a batch of shape 2x3x8x8: ") as told:
        prepared(Net(fails, head=nn.Linear(3, 1)))
    assert "\n" not in str(told.value)
