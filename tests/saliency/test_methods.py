"""Rollout and Grad-CAM against values worked by hand."""

import torch

from brevitas_defakeq.saliency.methods import grad_cam, rollout

FIRST = torch.tensor([[0.9, 0.1], [0.3, 0.7]])
SECOND = torch.tensor([[0.5, 0.5], [0.2, 0.8]])


def test_rollout_of_two_layers_over_two_tokens():
    # (W + I) / 2: [[.95, .05], [.15, .85]] and [[.75, .25], [.1, .9]]; the second times the first:
    expected = torch.tensor([[[0.75, 0.25], [0.23, 0.77]]])
    torch.testing.assert_close(rollout([FIRST[None, None], SECOND[None, None]]), expected)


def test_heads_are_averaged():
    heads = torch.stack([FIRST, SECOND])[None]  # [1, 2, 2, 2], mean [[.7, .3], [.25, .75]]
    torch.testing.assert_close(rollout([heads]), torch.tensor([[[0.85, 0.15], [0.125, 0.875]]]))


def test_rows_of_a_quantized_softmax_are_divided_by_their_sum():
    weights = torch.tensor([[[[0.5, 0.0], [0.0, 0.0]]]])  # a coarse grid rounded the rest to 0
    torch.testing.assert_close(rollout([weights]), torch.eye(2)[None])
    weights = torch.tensor([[[[1.0, 1.0], [0.0, 1.0]]]])
    torch.testing.assert_close(rollout([weights]), torch.tensor([[[2 / 3, 1 / 3], [0.0, 1.0]]]))


def test_grad_cam_of_two_channels():
    values = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[0.0, 1.0], [0.0, 5.0]]]])
    gradient = torch.tensor([[[[2.0, 0.0], [0.0, 2.0]], [[-1.0, -1.0], [-1.0, -1.0]]]])
    # alpha: 1 and -1
    torch.testing.assert_close(grad_cam(values, gradient), torch.tensor([[[1.0, 1.0], [3.0, -1.0]]]))
