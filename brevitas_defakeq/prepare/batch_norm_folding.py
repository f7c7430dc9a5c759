"""BatchNorms folded into the layers before them: torch's classes, and any other that computes the same."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn import functional as F

from brevitas_defakeq.nn.layer_kinds import channel_dim, find_layer_kind, layer_kind_of
from brevitas_defakeq.nn.module_tree import has_hooks, modules_by_name, parents_of
from brevitas_defakeq.prepare.layer_subclasses import called_plainly, noise_like
from brevitas_defakeq.prepare.trace import TensorVersion, Trace, tensors_in

#: Forwards known to be the norm alone.
_PLAIN_FORWARDS = (nn.BatchNorm2d.forward, nn.SyncBatchNorm.forward)
#: And those known to be it with the module's own activation behind it; any other is run to find out.
_KNOWN_FORWARDS = (*_PLAIN_FORWARDS, BatchNormAct2d.forward)
#: Of a norm that does not tell.
_DEFAULT_EPS = 1e-5


@torch.no_grad()
def batch_norm_pairs(model: nn.Module, trace: Trace, outside: Iterable[str] = ()) -> list[tuple[str, str]]:
    """(layer, BatchNorm) names where the norm alone reads the layer's output.

    A norm that runs several times is behind one layer or several. A norm over a Linear's [N, tokens, C]
    normalizes tokens, and an output that the model hands out must stay. Nothing is folded where a hook of the
    user's sees, or changes, what lies between or behind the two.

    Args:
        outside: layers into which nothing can be folded.
    """
    modules = modules_by_name(model)
    layers = {
        name
        for name in trace.calls
        if find_layer_kind(modules[name]) and called_plainly(trace, name) and not modules[name]._forward_hooks
    }.difference(outside)
    maker = {value: name for value, names in trace.makers.items() for name in layers.intersection(names)}
    returned: dict[str, set[TensorVersion]] = {}
    for value, layer in maker.items():
        returned.setdefault(layer, set()).add(value)
    reading = trace.modules_reading()
    handed_out = {id(tensor) for tensor in tensors_in(trace.output)}

    def only_in(norm: str, value: TensorVersion) -> bool:
        inside = (owner == norm or owner.startswith(f"{norm}.") for owner in reading.get(value, ()))
        return value[0] not in handed_out and all(inside)

    pairs: list[tuple[str, str]] = []
    for name in trace.calls:
        sources = _sources(modules[name], trace, name)
        before = [maker.get(value) for value in trace.entered[name]] if sources else []
        found = [layer for layer in dict.fromkeys(before) if layer is not None]
        values = {value for layer in found for value in returned[layer]}
        if (
            found and values == set(trace.entered[name])
            and all(only_in(name, value) for value in values)
            and all(_has_channels_second(modules[layer], sources[0]) for layer in found)
            and all(_computes_batch_norm(modules[name], source) for source in sources)
        ):  # fmt: skip
            pairs += [(layer, name) for layer in found]
    return pairs


def _sources(norm: nn.Module, trace: Trace, name: str) -> list[Tensor]:
    """What a module with a BatchNorm's statistics reads, call by call; nothing for any other module."""
    statistics = (norm._buffers.get(part) for part in ("running_mean", "running_var"))
    hooked = any(has_hooks(part) for part in norm.modules())
    if norm.training or hooked or not all(isinstance(part, Tensor) for part in statistics):
        return []
    return [call.inputs[0] for call in trace.calls[name]] if called_plainly(trace, name) else []


def _has_channels_second(layer: nn.Module, output: Tensor) -> bool:
    return channel_dim(layer) % output.dim() == 1


def _computes_batch_norm(norm: nn.Module, source: Tensor) -> bool:
    """Whether the module is a BatchNorm, with nothing but its own submodules behind it."""
    if type(norm).forward in _KNOWN_FORWARDS and "forward" not in norm.__dict__:
        return True
    mean, variance, eps, gain, shift = _numbers(norm)
    for inputs in (source, noise_like(source)):
        wanted = _rest(norm)(F.batch_norm(inputs, mean, variance, gain, shift, eps=eps))
        found = norm(inputs.clone())
        if not isinstance(found, Tensor) or found.shape != wanted.shape:
            return False
        if (found - wanted).abs().max() > 1e-4 * wanted.abs().max().clamp_min(1e-3):
            return False
    return True


def _numbers(norm: nn.Module) -> tuple[Tensor, Tensor, float, Tensor, Tensor]:
    """Mean, variance, eps, gain and shift of a BatchNorm."""
    mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    gain, shift = (getattr(norm, name, None) for name in ("weight", "bias"))
    return (
        mean,
        variance,
        getattr(norm, "eps", _DEFAULT_EPS),
        torch.ones_like(mean) if gain is None else gain,
        torch.zeros_like(mean) if shift is None else shift,
    )


def _rest(norm: nn.Module) -> nn.Module:
    """What is left of a folded norm: its own dropout and activation."""
    if type(norm).forward in _PLAIN_FORWARDS:
        return nn.Identity()
    names = sorted(norm._modules, key=lambda name: name != "drop")  # timm's sits before the activation
    parts = [norm._modules[name] for name in names]
    kept = [part for part in parts if part is not None and not isinstance(part, nn.Identity)]
    return nn.Sequential(*kept) if kept else nn.Identity()


def fold_batch_norm_(model: nn.Module, layers: Sequence[str], norm_name: str) -> Callable[[], None]:
    """Fold one BatchNorm into the layers before it, and return what undoes it.

    timm's ``BatchNormAct2d`` keeps its activation.
    """
    modules = modules_by_name(model)
    norm, parents = modules[norm_name], parents_of(model, modules[norm_name])
    before = {name: (modules[name].weight, modules[name].bias) for name in layers}
    mean, variance, eps, gain, shift = _numbers(norm)
    for name in layers:
        layer = modules[name]
        fuse = layer_kind_of(layer).fuse_batch_norm
        layer.weight, layer.bias = fuse(layer.weight, layer.bias, mean, variance, eps, gain, shift)
    rest = _rest(norm)
    for parent, key in parents:
        parent._modules[key] = rest[0] if isinstance(rest, nn.Sequential) and len(rest) == 1 else rest

    def undo() -> None:
        for name, (weight, bias) in before.items():
            modules[name].weight, modules[name].bias = weight, bias
        for parent, key in parents:
            parent._modules[key] = norm

    return undo


def folds_by_norm(folds: Iterable[tuple[str, str]]) -> Mapping[str, list[str]]:
    """BatchNorm -> the layers that it is folded into."""
    found: dict[str, list[str]] = {}
    for layer, norm in folds:
        found.setdefault(norm, []).append(layer)
    return found
