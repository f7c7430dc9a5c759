"""The last map of a network: the last result that has positions, before they are pooled into the verdict."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from brevitas_defakeq.nn.module_tree import modules_by_name, removed_after
from brevitas_defakeq.utils.errors import UserError

#: What modules returned, with their names, in order.
ModuleOutputs = list[tuple[str, Tensor]]


@dataclass(frozen=True, kw_only=True)
class LastMap:
    """A feature map [N, C, h, w] or tokens [N, T, C], and the gradient of the fake logit with respect to it.

    Attributes:
        layer: dotted name of the module that returned it.
    """

    layer: str
    values: Tensor
    gradient: Tensor


@contextmanager
def recorded(model: nn.Module) -> Iterator[ModuleOutputs]:
    """Within the context the tensors that modules return are collected, in order of their return."""
    found: ModuleOutputs = []

    def note(_: nn.Module, __: tuple, output: object, *, name: str) -> None:
        values = getattr(output, "value", output)  # of a Brevitas QuantTensor
        if isinstance(values, Tensor) and values.requires_grad:
            found.append((name, values))

    handles = [
        module.register_forward_hook(partial(note, name=name))
        for name, module in modules_by_name(model).items()
    ]
    with removed_after(handles):
        yield found


def last_map(outputs: ModuleOutputs, logit: Tensor, images: Tensor) -> LastMap:
    """The last output with positions that the fake logit [N] depends on.

    Raises:
        UserError: there is none.
    """
    for layer, values in reversed(outputs if logit.requires_grad else []):
        order = _order(values.shape, images.shape)
        if order is None:
            continue
        (gradient,) = torch.autograd.grad(logit.sum(), values, retain_graph=True, allow_unused=True)
        if gradient is not None and gradient.any():  # otherwise of a branch beside the verdict
            return LastMap(
                layer=layer, values=values.detach().permute(order), gradient=gradient.permute(order)
            )
    raise UserError(
        "the fake logit has no gradient at any feature map or tokens that a module returns; saliency needs a "
        "convolutional network or a transformer as an nn.Module, and scores that are not exactly 0 or 1"
    )


def token_grid(tokens: int, image: Sequence[int]) -> tuple[int, int] | None:
    """Height and width of the patches among tokens, for an image (H, W); those before them are class tokens.

    The largest grid of the image's shape. None where it leaves more tokens than a side has patches, so that
    they are no patches of the image.

    >>> token_grid(197, (224, 224)), token_grid(60, (224, 224)), token_grid(9, (64, 32))
    ((14, 14), None, (4, 2))
    """
    common = math.gcd(*image)
    height, width = (side // common for side in image)
    scale = math.isqrt(tokens // (height * width))
    height, width = scale * height, scale * width
    return (height, width) if height * width > 1 and tokens - height * width <= max(height, width) else None


def _order(shape: torch.Size, images: torch.Size) -> tuple[int, ...] | None:
    """The dimensions as [N, C, h, w] or [N, T, C]; None where the values have no positions.

    Args:
        images: shape of the images, [N, 3, H, W].
    """
    if len(shape) == 3 and images[0] in shape[:2]:
        images_first = shape[0] == images[0]
        tokens, channels = shape[1 if images_first else 0], shape[2]
        if channels == 1 or token_grid(tokens, images[2:]) is None:
            return None
        return (0, 1, 2) if images_first else (1, 0, 2)
    if len(shape) == 4 and shape[0] == images[0]:
        _, first, second, third = shape
        ratio = images[2] / images[3]
        last = _apart(first / second, ratio) < _apart(second / third, ratio)  # where the channels are
        positions = first * second if last else second * third
        if positions > 1:
            return (0, 3, 1, 2) if last else (0, 1, 2, 3)
    return None


def _apart(first: float, second: float) -> float:
    """How far two ratios are from each other."""
    return abs(math.log(first / second))
