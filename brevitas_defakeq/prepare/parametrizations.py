"""Weights that are computed before every call: by a parametrization, by an old-style hook, by pruning."""

import torch
from torch import nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.parametrize import ParametrizationList
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm


@torch.no_grad()
def remove_parametrizations_(model: nn.Module) -> None:
    """Make every such tensor of ``model`` (in eval mode) a parameter or buffer of its present value."""
    modules = list(model.modules())
    # All values first: removing one parametrization may write into an original that another one shares.
    parametrized = [
        (module, name, found, getattr(module, name).detach().clone())
        for module in modules
        for name, found in _parametrizations_of(module).items()
    ]
    for module, name, found, value in parametrized:
        _set_plain_(module, name, found, value)
    for module in modules:
        for hook in list(module._forward_pre_hooks.values()):
            _remove_hook_(module, hook)


def _parametrizations_of(module: nn.Module) -> dict[str, ParametrizationList]:
    """Name of a tensor -> its parametrizations."""
    held = module._modules.get("parametrizations")
    found = held.items() if isinstance(held, nn.ModuleDict) else ()
    return {name: of_name for name, of_name in found if isinstance(of_name, ParametrizationList)}


def _set_plain_(module: nn.Module, name: str, found: ParametrizationList, value: torch.Tensor) -> None:
    """One parametrized tensor becomes a parameter, or a buffer if the parametrized one was a buffer."""
    is_parameter = next(found.parameters(recurse=False), None) is not None
    parametrize.remove_parametrizations(module, name, leave_parametrized=not found.is_tensor)
    delattr(module, name)
    if is_parameter:
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
