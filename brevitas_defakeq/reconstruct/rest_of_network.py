"""The float network behind a block: what it makes of the block's output, and the gradient of that."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brevitas_defakeq.nn.module_tree import removed_after

#: T of the softmax over (z, 0). The papers take 4 (PD-Quant) to 20 (FIMA-Q, APHQ-ViT) for 1,000 classes.
TEMPERATURE = 4.0


@contextmanager
def substituted(block: nn.Module, output: Tensor, images: int, image_dim: int) -> Iterator[None]:
    """Within the context ``block`` returns ``output`` instead of its own, with its gradient.

    Args:
        output: rows of ``images`` images [images * group, ...]; a block that runs several times in a pass has
            those of its calls beside each other, as `capture` keeps them.
        image_dim: dimension of the block's output that counts images.
    """
    shape: torch.Size | None = None
    calls: Iterator[Tensor] = iter(())

    def hook(_: nn.Module, __: object, own: Tensor) -> Tensor | None:
        nonlocal shape, calls
        if shape is None:
            shape, rows = own.shape, own.shape[image_dim] // images
            calls = iter(output.reshape(images, -1, rows, *output.shape[1:]).unbind(1))
        if own.shape != shape:  # left out by `capture`
            return None
        return next(calls).flatten(0, 1).movedim(0, image_dim).clone()  # what follows may write to it

    with removed_after([block.register_forward_hook(hook)]):
        yield


def two_class_divergence(wanted: Tensor, found: Tensor) -> Tensor:
    """``KL(softmax(wanted/T, 0) || softmax(found/T, 0))`` of each image, [N].

    A softmax over one logit alone is constant; with a logit of 0 beside it, it is P(fake) and P(real).

    Args:
        wanted, found: fake logits, [N].

    >>> two_class_divergence(torch.tensor([2.0]), torch.tensor([2.0]))
    tensor([0.])
    """
    first, second = wanted / TEMPERATURE, found / TEMPERATURE
    return F.softplus(second) - F.softplus(first) - first.sigmoid() * (second - first)


def output_gradient(output: Tensor, score: Callable[[Tensor], Tensor]) -> Tensor:
    """Gradient of ``score(output)`` [N], summed over images, with respect to ``output``; shaped like it."""
    output = output.detach().requires_grad_()
    with torch.enable_grad():
        total = score(output).sum()
    (gradient,) = torch.autograd.grad(total, output, allow_unused=True, materialize_grads=True)
    return gradient
