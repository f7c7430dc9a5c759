"""Cost of each layer's width by the diagonal Fisher information of the verdict (as in arXiv 1801.05787).

Around the float weights the KL divergence of the rounded model's verdict from the float model's has no first
order; its second is ``1/2 sum_ij E[g_i g_j] dw_i dw_j``, g the gradient of log p(y), the verdict y drawn from
the float model. Of the two classes of a softmax over (z, 0), ``E[g^2] = p (1 - p) (dz/dw)^2`` for each image.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from brevitas_defakeq.haq.sensitivity import Logit, rounded
from brevitas_defakeq.haq.solver import monotone
from brevitas_defakeq.nn.module_tree import flag_set, weight_of


def fisher_costs(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    batches: Sequence[Tensor],
    logit: Logit,
    candidate_bits: Sequence[float],
    *,
    symmetric: bool = False,
) -> dict[str, list[float]]:
    """Sum over a layer's weights of ``E[g^2] (w - Q_b(w))^2``, all of one backward pass."""
    weights = {name: weight_of(layer) for name, layer in layers.items()}
    information = fisher_diagonal(model, weights, batches, logit)
    costs = {}
    for name, weight in weights.items():
        errors = [rounded(weight, bits, symmetric) - weight.detach() for bits in candidate_bits]
        costs[name] = monotone([float((information[name] * error.square()).sum()) for error in errors])
    return costs


def fisher_diagonal(
    model: nn.Module, weights: Mapping[str, Tensor], batches: Sequence[Tensor], logit: Logit
) -> dict[str, Tensor]:
    """``E[g^2]`` of every weight, shaped like it: the mean over images.

    They pass one by one, since the square of a batch's gradient is not the sum of its images' squares.
    """
    totals = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    images = [image for batch in batches for image in batch.split(1)]
    for image in images:
        with flag_set(weights.values(), "requires_grad"), torch.enable_grad():
            score = logit(model(image.clone()))  # [1]
            deviation = (score.sigmoid() * (-score).sigmoid()).sqrt().detach()  # of y: sqrt(p (1 - p))
            gradients = torch.autograd.grad(
                (deviation * score).sum(), list(weights.values()), allow_unused=True, materialize_grads=True
            )
        for total, gradient in zip(totals.values(), gradients, strict=True):
            total += gradient.square() / len(images)
    return totals
