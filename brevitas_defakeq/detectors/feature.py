"""The feature vector of a detector: the input of its classifier head."""

from __future__ import annotations

import difflib
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from brevitas_defakeq.utils.errors import UserError

TAP_SIDES = ("input", "output")


class FeatureTap:
    """Records a module's input or output as a feature vector within its context.

    Maps and token sequences are averaged over space or tokens.

    Args:
        model: the model to run.
        path: the module's dotted name, which also fits a copy of the model whose module was replaced.
        side: "input" or "output".

    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 1))
    >>> with FeatureTap(model, "3") as tap:
    ...     _ = model(torch.zeros(2, 3, 8, 8))
    >>> tap.value.shape
    torch.Size([2, 8])
    """

    def __init__(self, model: nn.Module, path: str, side: str = "input") -> None:
        if side not in TAP_SIDES:
            raise UserError(f"side={side!r} is not known; choose one of {', '.join(TAP_SIDES)}")
        self.path, self.side = path, side
        self._module = _module(model, path)
        self._handle: RemovableHandle | None = None
        self._value: torch.Tensor | None = None

    def __enter__(self) -> FeatureTap:
        self._value = None
        register = (
            self._module.register_forward_pre_hook
            if self.side == "input"
            else self._module.register_forward_hook
        )
        self._handle = register(self._record, with_kwargs=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            self._handle.remove()

    @property
    def value(self) -> torch.Tensor:
        """The feature of the last forward, [N, C], its graph kept; raises UserError before any."""
        if self._value is None:
            raise UserError(
                f"module {self.path!r} was not reached by the model; name another one as the feature"
            )
        return self._value

    def _record(self, module: nn.Module, args: tuple, kwargs: dict[str, Any], *outputs: Any) -> None:
        observed = outputs[0] if outputs else (args[0] if args else next(iter(kwargs.values()), None))
        self._value = _pooled(module, _tensor(observed, self.path), self.side)


def _module(model: nn.Module, path: str) -> nn.Module:
    """The module with that dotted name. Raises UserError with the closest names."""
    modules = dict(model.named_modules(remove_duplicate=False))
    if path not in modules:
        close = difflib.get_close_matches(path, modules, n=3) or list(dict(model.named_children()))[-3:]
        raise UserError(f"the model has no module {path!r}; close names are {', '.join(close)}")
    return modules[path]


def _tensor(observed: Any, path: str) -> torch.Tensor:
    """The plain tensor in a module's input or output: a tensor, a QuantTensor, or a tuple of them."""
    if isinstance(observed, torch.Tensor):
        return observed
    if isinstance(getattr(observed, "value", None), torch.Tensor):
        return observed.value
    if isinstance(observed, (tuple, list)) and observed:
        return _tensor(observed[0], path)
    raise UserError(
        f"module {path!r} carries a {type(observed).__name__}, not a tensor; name another one as the feature"
    )


def _pooled(module: nn.Module, tensor: torch.Tensor, side: str) -> torch.Tensor:
    """[N, C] from [N, C], tokens [N, T, C], or a map [N, C, H, W] or [N, H, W, C]."""
    if tensor.ndim == 2:
        return tensor
    if tensor.ndim == 3:
        return tensor.mean(dim=1)
    if tensor.ndim == 4:
        return tensor.mean(dim=(1, 2) if _channels_last(module, tensor, side) else (2, 3))
    raise UserError(
        f"a feature of shape {list(tensor.shape)} cannot be pooled; name a module with [N, C] or a map"
    )


def _channels_last(module: nn.Module, tensor: torch.Tensor, side: str) -> bool:
    """Whether a 4-D tensor is [N, H, W, C], as for Linear and for norms over the last dimension."""
    width = getattr(module, "in_features" if side == "input" else "out_features", None)
    if width is not None:
        return True
    normalized = getattr(module, "normalized_shape", None)
    return bool(normalized and tensor.shape[-1] == normalized[-1] != tensor.shape[1])
