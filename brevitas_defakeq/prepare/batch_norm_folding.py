"""The float model made ready: BatchNorm folded into its convolution, dynamic padding made static."""

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from brevitas_defakeq.nn.layer_kind import Sides
from brevitas_defakeq.nn.layer_kinds import channel_dim, find_layer_kind, layer_kind_of, weight_and_bias
from brevitas_defakeq.nn.module_tree import modules_by_name, replace_module
from brevitas_defakeq.prepare.trace import Trace, tensors_in

#: Forwards that are the norm and, in timm's class, its own activation; any other may do more.
_BATCH_NORMS = (nn.BatchNorm2d.forward, BatchNormAct2d.forward)


def batch_norm_pairs(model: nn.Module, trace: Trace) -> list[tuple[str, str]]:
    """(layer, BatchNorm) names where the norm alone reads the layer's output and each runs once.

    A norm over a Linear's [N, tokens, C] normalizes tokens, and an output that the model hands out must stay.
    """
    modules = modules_by_name(model)
    producers = {
        id(calls[0].output): name
        for name, calls in trace.calls.items()
        if len(calls) == 1 and find_layer_kind(modules[name]) is not None
    }
    handed_out = {id(tensor) for tensor in tensors_in(trace.output)}
    pairs = []
    for name, calls in trace.calls.items():
        norm = modules[name]
        if type(norm).forward not in _BATCH_NORMS or len(calls) != 1 or norm.running_var is None:
            continue
        source = next(tensors_in(calls[0].inputs), None)
        if source is None or id(source) not in producers or id(source) in handed_out:
            continue
        by_channel = channel_dim(modules[producers[id(source)]]) % source.dim() == 1
        if trace.readers_of(source) == ["batch_norm"] and by_channel:
            pairs.append((producers[id(source)], name))
    return pairs


def fold_batch_norm_(model: nn.Module, layer_name: str, norm_name: str) -> None:
    """Fold one BatchNorm into the layer before it; timm's ``BatchNormAct2d`` keeps its activation."""
    modules = modules_by_name(model)
    layer, norm = modules[layer_name], modules[norm_name]
    mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    affine = norm.weight is not None
    gain, shift = (norm.weight, norm.bias) if affine else (torch.ones_like(mean), torch.zeros_like(mean))
    fuse = layer_kind_of(layer).fuse_batch_norm
    layer.weight, layer.bias = fuse(layer.weight, layer.bias, mean, variance, norm.eps, gain, shift)
    after = (norm._modules.get(name) for name in ("drop", "act"))
    kept = [module for module in after if module is not None and not isinstance(module, nn.Identity)]
    rest = nn.Identity() if not kept else kept[0] if len(kept) == 1 else nn.Sequential(*kept)
    replace_module(model, norm, rest)


def same_padding(layer: nn.Module, inputs: Tensor) -> Sides | None:
    """The padding that a layer may choose by itself for ``inputs``; None if its kind has none."""
    find = layer_kind_of(layer).same_padding
    return None if find is None else find(layer, inputs)


def with_padding(layer: nn.Module, sides: Sides) -> nn.Module:
    """The layer with a fixed padding in place of the one it finds by itself; weight and bias are shared."""
    kind = layer_kind_of(layer)
    if kind.with_padding is None:
        raise TypeError(f"layers of kind {kind.name} have no fixed padding")
    return kind.with_padding(layer, sides)


def make_static_(model: nn.Module, layer_name: str, sides: Sides) -> None:
    """Replace a layer that pads dynamically by one with the given fixed padding."""
    old = modules_by_name(model)[layer_name]
    replace_module(model, old, with_padding(old, sides))


@torch.no_grad()
def behaves_like(layer: nn.Module, inputs: Tensor, output: Tensor) -> bool:
    """Whether ``output`` is what the plain operation of the layer's kind makes of ``inputs``."""
    try:
        plain = layer_kind_of(layer).operation(layer, inputs, *weight_and_bias(layer))
    except RuntimeError:  # the map is smaller than the kernel: the layer must pad by itself
        return False
    if not isinstance(output, Tensor) or plain.shape != output.shape:
        return False
    return bool((plain - output).abs().max() <= 1e-4 * output.abs().max().clamp_min(1e-3))
