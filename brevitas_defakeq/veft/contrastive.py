"""Progressive contrastive alignment (eq. 9)."""

import torch
from torch import Tensor
from torch.nn import functional as F


def combined_positive(quantized: Tensor, mixed: Tensor, progress: float) -> Tensor:
    """``x_comb = w(t) x_pos2 + (1 - w(t)) x_pos1`` with ``w(t) = t/T``: M_q early, M_q^v late (eq. 9)."""
    return progress * mixed + (1.0 - progress) * quantized


def contrastive_loss(
    anchor: Tensor, positive: Tensor, negatives: Tensor, *, temperature: float, allowed: Tensor | None = None
) -> Tensor:
    """L_ver (eq. 9), mean over the images.

    Args:
        anchor: x_a, M_f's features, [N, C].
        positive: x_comb of the same images, [N, C].
        negatives: x_k, features of N images, [N, C]; an image is never its own negative.
        temperature: tau.
        allowed: bool [N, N]; ``allowed[i, k]`` lets image k be a negative of i. A row with none allowed
            takes all other images.

    >>> x = torch.eye(2)
    >>> round(contrastive_loss(x, x, x, temperature=1.0).item(), 4)  # log(1 + e^0 / e^1)
    0.3133
    """
    own = torch.eye(len(anchor), dtype=torch.bool, device=anchor.device)
    usable = ~own if allowed is None else allowed.to(own.device) & ~own
    usable = torch.where(usable.any(dim=1, keepdim=True), usable, ~own)
    pull = F.cosine_similarity(anchor, positive, dim=1) / temperature  # [N]
    push = F.cosine_similarity(anchor[:, None], negatives[None], dim=2) / temperature  # [N, N]
    push = push.masked_fill(~usable, float("-inf"))
    return (torch.logsumexp(torch.cat([pull[:, None], push], dim=1), dim=1) - pull).mean()


def other_class(labels: Tensor | None) -> Tensor | None:
    """Pairs of images with different labels, bool [N, N]; None without labels."""
    return None if labels is None else labels[:, None] != labels[None, :]


def pooled(output: Tensor, channel_dim: int) -> Tensor:
    """Mean over positions: [N, ..., C, ...] -> [N, C]."""
    moved = output.movedim(channel_dim, -1)
    return moved.reshape(moved.shape[0], -1, moved.shape[-1]).mean(dim=1)
