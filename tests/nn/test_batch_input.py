"""How a model takes its batch, and what is kept of arguments that it changes."""

import copy

import torch
from small_networks import Net
from torch import nn

from brevitas_defakeq.nn.batch_input import copied_containers, hand_over_copies_, to_channels_last_


def test_copies_are_handed_over_also_by_a_copy_of_the_model():
    model = Net(lambda self, x: x.mul_(2).view(len(x), -1))
    hand_over_copies_(model, contiguous=True)
    images = torch.ones(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    for each in (model, copy.deepcopy(model)):
        assert torch.equal(each(images), torch.full((2, 48), 2.0))
        assert torch.equal(images, torch.ones(2, 3, 4, 4))


def test_gradients_pass_to_the_images():
    model = Net(lambda self, x: x.mul_(3))
    hand_over_copies_(model, contiguous=False)
    images = torch.ones(1, 3, 2, 2, requires_grad=True)
    model(images).sum().backward()
    assert torch.equal(images.grad, torch.full_like(images, 3.0))


def test_containers_are_copied_and_tensors_are_not():
    tensor = torch.zeros(1)
    grown = [tensor, {"more": [tensor]}, (tensor, [1])]
    kept = copied_containers((grown, {"list": grown}))
    grown[1]["more"].append(tensor)
    grown.append(tensor)
    assert len(kept[0]) == len(kept[1]["list"]) == 3 and len(kept[0][1]["more"]) == 1
    assert kept[0][0] is tensor and kept[0][2][1] == [1]


def test_only_tensors_of_four_dimensions_have_channels_last():
    model = nn.ModuleList([nn.Conv3d(1, 1, 3), nn.Conv2d(3, 8, 3), nn.Linear(2, 2)])
    to_channels_last_(model)
    assert model[1].weight.is_contiguous(memory_format=torch.channels_last)
    assert model[0].weight.is_contiguous() and not model[1].weight.is_contiguous()
