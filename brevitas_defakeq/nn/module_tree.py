"""Small handles on module trees, used on both sides of quantization."""

import copy
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint
from torch.utils.hooks import RemovableHandle

from brevitas_defakeq.nn.copied_functions import rebind_copy_, rebind_replaced_
from brevitas_defakeq.utils.errors import UserError, first_line

#: Of ``nn.Module``: id of a hook -> the hook, or a flag of it.
_HOOKS = (
    "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_forward_hooks", "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
)  # fmt: skip


def copy_module(model: nn.Module) -> nn.Module:
    """A copy that shares nothing with ``model``, functions that it holds included.

    Raises:
        UserError: torch cannot copy it, or a function that it holds cannot be led to the copy.
    """
    memo: dict[int, Any] = dict(_computed_tensors(model))
    try:
        copied = copy.deepcopy(model, memo)
    except Exception as error:  # whatever the model holds decides
        raise UserError(
            f"the detector cannot be copied ({first_line(error)}); remove non-leaf tensors and open handles"
        ) from None
    rebind_copy_(copied, memo)
    return copied


def _computed_tensors(model: nn.Module) -> dict[int, Tensor]:
    """``id`` -> copy of the tensors that deepcopy refuses: results kept with their gradient, as hooks do."""
    kept = (value for module in model.modules() for value in tree_leaves(vars(module)))
    return {
        id(value): value.detach().clone() for value in kept if isinstance(value, Tensor) and not value.is_leaf
    }


def modules_by_name(model: nn.Module) -> dict[str, nn.Module]:
    """Every submodule by dotted name; the model itself is left out."""
    return {name: module for name, module in model.named_modules() if name}


def device_of(model: nn.Module) -> torch.device:
    """The device of the model's first parameter; the processor for a model without any."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def weight_of(layer: nn.Module) -> Tensor:
    """The layer's weight [C_out, ...]: a parameter, or computed by a parametrization."""
    weight = layer.weight
    if not isinstance(weight, Tensor):
        raise TypeError(f"{type(layer).__name__} has no weight")
    return weight


def bias_of(layer: nn.Module) -> Tensor | None:
    """The layer's bias [C_out], if it has one."""
    bias = layer.bias
    return bias if isinstance(bias, Tensor) else None


def replace_module(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put ``new`` wherever ``old`` is in the tree (a shared module is in it more than once)."""
    replace_modules(model, {old: new})


def replace_modules(model: nn.Module, new: Mapping[nn.Module, nn.Module]) -> None:
    """Put ``new[old]`` wherever ``old`` is in the tree, for all of them in one pass.

    Hooks of ``old`` run on ``new[old]``; lists, functions and bound methods that hold ``old`` get it too.
    """
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is not None and child in new:
                parent._modules[name] = new[child]
    for old, made in new.items():
        take_hooks_(made, old)
    rebind_replaced_(model, new)


def has_hooks(module: nn.Module) -> bool:
    """Whether a forward hook or a forward pre-hook is registered on the module."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def names_by_alias(model: nn.Module) -> dict[str, str]:
    """Every path to a submodule -> the module's name: a shared module has several paths."""
    names = {id(module): name for name, module in model.named_modules()}
    return {path: names[id(module)] for path, module in model.named_modules(remove_duplicate=False)}


def take_hooks_(new: nn.Module, old: nn.Module) -> None:
    """Let the forward hooks and pre-hooks of ``old`` run on ``new``, around those that it has."""
    for name in _HOOKS:
        inner, outer = getattr(new, name), getattr(old, name)
        if outer and outer is not inner:
            pairs = (outer, inner) if "pre" in name else (inner, outer)
            setattr(new, name, OrderedDict(item for hooks in pairs for item in hooks.items()))


def parents_of(model: nn.Module, module: nn.Module) -> list[tuple[nn.Module, str]]:
    """Every parent of ``module``, and the name that it has there."""
    return [
        (parent, name)
        for parent in model.modules()
        for name, child in parent._modules.items()
        if child is module
    ]


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """``model.eval()``, every module's own mode restored afterwards."""
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def flag_set(modules: Iterable[nn.Module | Tensor], flag: str) -> Iterator[None]:
    """Within the context the attribute ``flag`` of modules or tensors is True, afterwards what it was."""
    before = {module: getattr(module, flag) for module in modules}
    try:
        for module in before:
            setattr(module, flag, True)
        yield
    finally:
        for module, value in before.items():
            setattr(module, flag, value)


@contextmanager
def removed_after(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """Hooks that are removed at the end of the context, also after an exception."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def replayed(outputs: Mapping[nn.Module, object]) -> Iterator[None]:
    """Within the context the modules return the given outputs without running."""
    with own_forwards(outputs):
        for module, output in outputs.items():
            module.forward = lambda *args, _output=output, **options: _output
        yield


@contextmanager
def recomputed(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Within the context the modules keep only their inputs for the backward pass, and run again in it."""
    with own_forwards(modules):
        for module in modules:
            module.forward = partial(checkpoint, module.forward, use_reentrant=False)
        yield


@contextmanager
def own_forwards(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Forwards that are set on the modules within the context are taken off again."""
    own = {module: module.__dict__.get("forward") for module in modules}  # set on the instance by a wrapper
    try:
        yield
    finally:
        for module, forward in own.items():
            module.__dict__.pop("forward", None)
            if forward is not None:
                module.forward = forward


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """Copies of all parameters and buffers by dotted name (Brevitas' own state dict leaves some out)."""
    return {name: tensor.detach().clone() for name, tensor in _tensors(model)}


@torch.no_grad()
def restore_(model: nn.Module, saved: Mapping[str, Tensor]) -> None:
    """Put a ``snapshot`` back into a model of the same structure; a forward may have resized a buffer."""
    for name, tensor in _tensors(model):
        if tensor.shape == saved[name].shape:
            tensor.copy_(saved[name])
        else:
            tensor.data = saved[name].to(tensor.device, copy=True)


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()
