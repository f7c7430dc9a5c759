"""Weights that are computed before every call: by a parametrization, by an old-style hook, by pruning."""

import torch
from torch import nn
from torch.nn.utils import prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.parametrize import ParametrizationList
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm


@torch.no_grad()
def remove_parametrizations_(model: nn.Module) -> None:
    """Make every such tensor of ``model`` (in eval mode) a parameter or buffer of its present value."""
    modules = list(model.modules())
    # All values first: two parametrizations may share an original.
    parametrized = [(module, values) for module in modules if (values := _parametrized(module))]
    for module, values in parametrized:
        # Not by remove_parametrizations: it changes the class itself, which the user's module shares.
        del module._modules["parametrizations"]
        module.__class__ = type(module).__bases__[0]
        for name, value in values.items():
            if isinstance(value, nn.Parameter):
                module.register_parameter(name, value)
            else:
                module.register_buffer(name, value)
    for module in modules:
        for hook in list(module._forward_pre_hooks.values()):
            _remove_hook_(module, hook)


def _parametrized(module: nn.Module) -> dict[str, torch.Tensor]:
    """Name -> present value of a module's parametrized tensors: a parameter, or a buffer if it was one."""
    held = module._modules.get("parametrizations")
    found = {}
    for name, of_name in held.items() if isinstance(held, nn.ModuleDict) else ():
        if isinstance(of_name, ParametrizationList):
            value = getattr(module, name).detach().clone()
            is_parameter = next(of_name.parameters(recurse=False), None) is not None
            found[name] = nn.Parameter(value) if is_parameter else value
    return found


def _remove_hook_(module: nn.Module, hook: object) -> None:
    if isinstance(hook, WeightNorm):
        remove_weight_norm(module, hook.name)
    elif isinstance(hook, SpectralNorm):
        remove_spectral_norm(module, hook.name)
    elif isinstance(hook, prune.BasePruningMethod):
        prune.remove(module, hook._tensor_name)
