"""The two methods, as functions of what a network computed: attention rollout and Grad-CAM.

captum has Grad-CAM, also for quantized modules, but neither rollout nor the search for the layer; the two
lines that it would spare are not worth a dependency.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def rollout(weights: Sequence[Tensor]) -> Tensor:
    """How much of each input token is in each final token, [N, T, T]; rows sum to 1.

    Attention rollout (Abnar & Zuidema 2020, arXiv 2005.00928): the product of ``A = (W + I) / 2`` over the
    layers, W the mean over the heads and I the residual connection. Rows are divided by their sum, since
    those of a quantized softmax need not sum to 1.

    Args:
        weights: of each layer in order, [N, heads, T, T].

    >>> rollout([torch.tensor([[[[0.5, 0.5], [0.0, 1.0]]]])])
    tensor([[[0.7500, 0.2500],
             [0.0000, 1.0000]]])
    """
    identity = torch.eye(weights[0].shape[-1], device=weights[0].device)
    mixed = identity.expand(len(weights[0]), -1, -1)
    for layer in weights:
        joined = layer.mean(dim=1) + identity
        mixed = joined / joined.sum(dim=-1, keepdim=True) @ mixed
    return mixed


def grad_cam(values: Tensor, gradient: Tensor) -> Tensor:
    """How much each position speaks for a higher logit, [N, h, w].

    Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391): ``sum_c alpha_c A_c``, alpha_c the mean of the
    gradient over the positions. The ReLU that follows there is left out, as captum does by default: a fake
    logit has two sides, and with it the map of an image that is judged real is 0 nearly everywhere.

    Args:
        values: the feature map A, [N, C, h, w].
        gradient: of the logit with respect to it.

    >>> grad_cam(torch.tensor([[[[1.0, 3.0]], [[2.0, 1.0]]]]), torch.tensor([[[[2.0, 0.0]], [[-1.0, -1.0]]]]))
    tensor([[[-1.,  2.]]])
    """
    alpha = gradient.mean(dim=(2, 3), keepdim=True)  # [N, C, 1, 1]
    return (alpha * values).sum(dim=1)
