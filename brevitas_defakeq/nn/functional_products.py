"""Modules whose forward multiplies by a parameter through a torch function: ``F.linear(x, self.weight)``.

Within their forward the function is answered by a layer, so that whatever takes the layer's place (a
quantized layer, an export module) is what is called. The parameter itself is no more than a name then.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

#: Functions that multiply their first argument by the second, and may add a third.
LAYER_FUNCTIONS = {"linear", "conv1d", "conv2d"}
#: Functions that multiply by a matrix [in, out] from the right.
MATRIX_FUNCTIONS = {"matmul", "__matmul__", "mm"}


def operands(args: tuple, options: Mapping[str, Any]) -> tuple[Any, Any]:
    """Input and weight of a call of one of these functions."""
    given = dict(zip(("input", "weight"), args, strict=False)) | dict(options)
    weight = next((given[name] for name in ("weight", "other", "mat2") if name in given), None)
    return given.get("input"), weight


class _Answered(TorchFunctionMode):
    """Calls a layer where a function is called with its weight."""

    def __init__(self, layers: list[tuple[object, nn.Module]]) -> None:
        super().__init__()
        self.layers = layers

    def __torch_function__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        options = kwargs or {}
        if getattr(function, "__name__", "") in LAYER_FUNCTIONS | MATRIX_FUNCTIONS:
            inputs, weight = operands(args, options)
            for own, layer in self.layers:
                if own is weight:
                    return layer(inputs)
        return function(*args, **options)


class FunctionalProducts(nn.Module):
    """Mixin of a module whose functional products are computed by layers.

    Attributes:
        answered: (name of the weight, name of its layer), both from this module on.
        shapes: names of what were parameters here and are empty tensors of the same shape now.
    """

    answered: tuple[tuple[str, str], ...] = ()
    shapes: tuple[str, ...] = ()

    def forward(self, *args: Any, **options: Any) -> Any:
        layers = [(_at(self, weight), self.get_submodule(layer)) for weight, layer in self.answered]
        with _Answered(layers):
            return super().forward(*args, **options)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        super()._apply(fn, recurse)
        for name in self.shapes:
            self.__dict__[name] = fn(self.__dict__[name])
        return self


def _at(module: nn.Module, path: str) -> object:
    owner, _, name = path.rpartition(".")
    return getattr(module.get_submodule(owner), name)


def answer_(module: nn.Module, weight: str, layer: str) -> None:
    """Let ``layer`` compute what a module's forward computes with the parameter ``weight``, in place."""
    _mix_in_(module)
    module.__dict__["answered"] = (*module.answered, (weight, layer))


def empty_(module: nn.Module, name: str) -> Tensor:
    """Take a parameter out of a module, in place; an empty tensor of its shape takes its name."""
    _mix_in_(module)
    taken = module._parameters.pop(name)
    if taken is None:
        raise TypeError(f"{name} is None")
    module.__dict__["shapes"] = (*module.shapes, name)
    module.__dict__[name] = empty_like(taken)
    return taken


def empty_like(tensor: Tensor) -> Tensor:
    """A tensor of the same shape in the memory of one number."""
    return torch.zeros(1, dtype=tensor.dtype, device=tensor.device).expand(tensor.shape)


def _mix_in_(module: nn.Module) -> None:
    cls = type(module)
    if not issubclass(cls, FunctionalProducts):
        module.__class__ = type(cls.__name__, (FunctionalProducts, cls), {"__module__": cls.__module__})
