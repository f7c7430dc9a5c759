"""Models that lose the batch of a single image: ``squeeze()`` drops every dimension of size one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from brevitas_defakeq.nn.module_tree import removed_after
from brevitas_defakeq.prepare.trace import function_name, refused_if_it_fails
from brevitas_defakeq.utils.errors import UserError


@torch.no_grad()
def single_image_logit(model: nn.Module, image: Tensor, logit: Callable[[Any], Tensor]) -> Tensor:
    """The fake logit [1] of one image; the model runs on two as well where it returns no verdict of one.

    Args:
        image: [1, 3, H, W].
        logit: output of the detector -> fake logit of each image.

    Raises:
        UserError: one image gives no verdict, or not one, while two images give two; names the operation that
            drops the batch, or what else fails.
    """
    one = _Shapes.of(model, image, logit)
    if one.error is None and len(one.logits) == 1:
        return one.logits
    two = _Shapes.of(model, torch.cat([image, image.flip(3)]), logit)
    if two.error is None and len(two.logits) == 2:
        dropped = _first_dropped(one, two)
        if dropped is not None:
            name, owner = dropped
            raise UserError(
                f"{name}() in {owner or 'the forward pass of the detector'} drops the batch of a single "
                f"image; {_ADVICE.get(name, 'keep the first dimension')}"
            )
    with refused_if_it_fails(image):
        if one.error is not None:
            raise one.error
    raise UserError(
        f"the detector returns {len(one.logits)} verdicts for one image; expected is one score, or one row "
        "of scores, an image: name the right part by its key, or wrap the model"
    )


_ADVICE = {"squeeze": "write flatten(1), or squeeze(dim) with the dimension that is meant"}


@dataclass(frozen=True)
class _Made:
    """A torch function, the module that it ran in, and the dimensions of what it made."""

    name: str
    owner: str
    dims: int


class _Shapes(TorchFunctionMode):
    """What a forward pass made, operation by operation, and the verdicts."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[_Made] = []
        self.inside: list[str] = [""]
        self.error: Exception | None = None
        self.logits = torch.empty(0)

    @classmethod
    def of(cls, model: nn.Module, images: Tensor, logit: Callable[[Any], Tensor]) -> "_Shapes":
        shapes = cls()
        handles = []
        for name, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(lambda *_, name=name: shapes.inside.append(name)))
            handles.append(module.register_forward_hook(lambda *_: _leave(shapes.inside)))
        with removed_after(handles):
            try:
                with shapes:
                    raw = model(images.clone())
                shapes.logits = logit(raw)
            except Exception as error:  # the user's code may raise anything
                shapes.error = error
        return shapes

    def __torch_function__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.made.append(_Made(function_name(function), self.inside[-1], result.dim()))
        return result


def _leave(inside: list[str]) -> None:
    inside.pop()


def _first_dropped(one: _Shapes, two: _Shapes) -> tuple[str, str] | None:
    """The first operation that makes fewer dimensions of one image than of two, and its module."""
    for single, double in zip(one.made, two.made, strict=False):
        if (single.name, single.owner) != (double.name, double.owner):
            return None
        if single.dims < double.dims:
            return single.name, single.owner
    return None
