"""Which dimension counts images, layer by layer."""

import pytest
import torch
from small_networks import Net
from torch import nn

from brevitas_defakeq.prepare.plan import Plan, make_plan


def rows_first(self, x):
    return self.head(self.body(x.flatten(2).transpose(1, 2)).mean(1))


def images_second(self, x):
    return self.head(self.body(x.flatten(2).permute(2, 0, 1)).mean(0))


def learned(self, x):
    return self.head(x.mean((2, 3)) + self.body(self.tokens).mean(0))


@pytest.mark.parametrize(("flow", "dim"), [(rows_first, 0), (images_second, 1)])
def test_tokens(flow, dim):
    model = Net(flow, body=nn.Linear(3, 3), head=nn.Linear(3, 1)).eval()
    plan = make_plan(model, torch.randn(1, 3, 4, 4))
    assert {block.name: block.image_dim for block in plan.blocks} == {"body": dim, "head": 0}
    assert {layer.name: layer.image_dim for layer in plan.layers} == {"body": dim, "head": 0}
    assert plan.units("layer") == plan.blocks == plan.units("block"), "two layers that are a block each"
    assert Plan.from_dict(plan.to_dict()) == plan


@pytest.mark.parametrize("rows", [1, 2, 16])
def test_a_layer_that_no_image_reaches_stays_float(rows):
    model = Net(learned, body=nn.Linear(3, 3), head=nn.Linear(3, 1))
    model.tokens = nn.Parameter(torch.randn(rows, 3))
    plan = make_plan(model.eval(), torch.randn(2, 3, 4, 4))
    assert plan.left_float == {"body": "its input has no image dimension"}
    assert [layer.name for layer in plan.layers] == ["head"]


def test_a_list_that_grows_is_seen_as_it_was():
    def dense(self, x):
        found = [x]
        found.append(self.body(torch.cat(found, 1)))
        return self.head(torch.cat(found, 1).mean((2, 3)))

    model = Net(dense, body=nn.Conv2d(3, 3, 1), head=nn.Linear(6, 1)).eval()
    assert [layer.name for layer in make_plan(model, torch.randn(1, 3, 4, 4)).layers] == ["body", "head"]
