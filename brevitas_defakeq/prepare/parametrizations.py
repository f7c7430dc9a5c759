"""Weights that are computed before every call: by a parametrization, by an old-style hook, by pruning."""

import torch
from torch import nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm


@torch.no_grad()
def remove_parametrizations_(model: nn.Module) -> None:
    """Make every such tensor of ``model`` (in eval mode) a parameter or buffer of its present value."""
    modules = list(model.modules())
    # All values first: removing one parametrization may write into an original that another one shares.
    parametrized = [
        (module, name, getattr(module, name).detach().clone())
        for module in modules
        if isinstance(module.__dict__["_modules"].get("parametrizations"), nn.ModuleDict)
        for name in module.parametrizations
    ]
    for module, name, value in parametrized:
        _set_plain_(module, name, value)
    for module in modules:
        for hook in list(module._forward_pre_hooks.values()):
            _remove_hook_(module, hook)


def _set_plain_(module: nn.Module, name: str, value: torch.Tensor) -> None:
    """One parametrized tensor becomes a parameter, or a buffer if the parametrized one was a buffer."""
    originals = list(module.parametrizations[name].parameters(recurse=False))
    several = not module.parametrizations[name].is_tensor
    parametrize.remove_parametrizations(module, name, leave_parametrized=several)
    delattr(module, name)
    if originals:
        module.register_parameter(name, nn.Parameter(value))
    else:
        module.register_buffer(name, value)


def _remove_hook_(module: nn.Module, hook: object) -> None:
    if isinstance(hook, WeightNorm):
        remove_weight_norm(module, hook.name)
    elif isinstance(hook, SpectralNorm):
        remove_spectral_norm(module, hook.name)
    elif isinstance(hook, prune.BasePruningMethod):
        prune.remove(module, hook._tensor_name)
