"""The user's module as quantization takes it: without torch's wrappers, in float32."""

import logging

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from brevitas_defakeq.nn.module_tree import copy_module, replace_modules
from brevitas_defakeq.utils.errors import UserError

_LOG = logging.getLogger(__name__)
_PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)


def plain_module(model: nn.Module) -> nn.Module:
    """The module inside compiled and parallel wrappers, with float32 weights; a copy where that changes it.

    Raises:
        UserError: it is no module, or TorchScript.
    """
    if not isinstance(model, nn.Module):
        raise UserError(f"the detector is of type {type(model).__name__}; give an nn.Module or a Detector")
    while (inner := _wrapped(model)) is not None:
        model = inner
    _refuse_torchscript(model)
    _refuse_unmade(model)
    dtypes = {parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()}
    others = dtypes - {torch.float32}
    if not others and all(_wrapped(module) is None for module in model.modules()):
        return model
    model = copy_module(model)
    while inside := {module: inner for module in model.modules() if (inner := _wrapped(module)) is not None}:
        replace_modules(model, inside)
    if others:
        names = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in others))
        _LOG.warning("the detector's weights are %s; a float32 copy of it is quantized", names)
        model = model.float()
    return model


def _wrapped(module: nn.Module) -> nn.Module | None:
    """The module inside a wrapper that computes the same; None for any other module."""
    if isinstance(module, _PARALLEL):
        return module.get_submodule("module")
    if type(module).__name__ == "OptimizedModule":  # torch.compile's; its class is slow to import
        return module.get_submodule("_orig_mod")
    return None


def _refuse_unmade(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if any(is_lazy(parameter) for parameter in module.parameters(recurse=False)):
            raise UserError(
                f"{name or 'the detector'} is a {type(module).__name__} whose weights are not made yet; run "
                "the detector once on a batch, and load its weights"
            )


def _refuse_torchscript(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise UserError(
                f"{name or 'the detector'} is TorchScript, whose layers cannot be exchanged; "
                "give the nn.Module that it was made from"
            )
