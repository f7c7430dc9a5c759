"""How well two saliency maps agree."""

import torch
from torch import Tensor
from torch.nn import functional as F

from brevitas_defakeq.utils.errors import UserError


def agreement(first: Tensor, second: Tensor) -> Tensor:
    """Pearson's correlation of the maps of each image, [N], from -1 to 1; 1 for equal maps.

    The measure CC of Bylinskii et al. 2018 (arXiv 1604.03605): it is symmetric, and neither a factor nor an
    offset changes it, for these have no meaning in a saliency map. A constant map has no correlation: the
    result is 1 where both maps are constant, and 0 where one is.

    Args:
        first, second: [N, h, w], of the same images and the same method.

    Raises:
        UserError: the shapes differ.
    """
    if first.shape != second.shape:
        raise UserError(
            f"maps of shape {list(first.shape)} and {list(second.shape)} cannot be compared; "
            "give those of one detector's variants for the same images"
        )
    first, second = _centred(first), _centred(second)
    both_constant = ~first.any(dim=1) & ~second.any(dim=1)
    return torch.where(both_constant, 1.0, F.cosine_similarity(first, second, dim=1)).float()


def _centred(maps: Tensor) -> Tensor:
    """[N, h, w] -> [N, h*w] of mean 0 and range 1; all 0 for a constant map."""
    flat = maps.double().flatten(1)
    spread = flat.amax(dim=1, keepdim=True) - flat.amin(dim=1, keepdim=True)
    return torch.where(spread > 0, (flat - flat.mean(dim=1, keepdim=True)) / spread, 0.0)
