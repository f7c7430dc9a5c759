"""The float model made ready: BatchNorm folded into its convolution, dynamic padding made static."""

import torch
from timm.layers import BatchNormAct2d
from timm.layers.padding import pad_same_arg
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import fusion

from brevitas_defakeq.nn.module_tree import modules_by_name, replace_module
from brevitas_defakeq.nn.static_padding import with_static_padding
from brevitas_defakeq.prepare.trace import Trace, tensors_in

#: Forwards known to be the norm and, in timm's form, its own activation; any other may do more.
_BATCH_NORMS = (nn.BatchNorm2d.forward, BatchNormAct2d.forward)


def batch_norm_pairs(model: nn.Module, trace: Trace) -> list[tuple[str, str]]:
    """(layer, BatchNorm) names where the norm alone reads the layer's output and each runs once.

    A norm over a Linear's [N, tokens, C] normalizes tokens, and an output that the model hands out must stay.
    """
    modules = modules_by_name(model)
    producers = {
        id(calls[0].output): name
        for name, calls in trace.calls.items()
        if len(calls) == 1 and isinstance(modules[name], nn.Linear | nn.Conv1d | nn.Conv2d)
    }
    handed_out = {id(tensor) for tensor in tensors_in(trace.output)}
    pairs = []
    for name, calls in trace.calls.items():
        norm = modules[name]
        if type(norm).forward not in _BATCH_NORMS or len(calls) != 1 or norm.running_var is None:
            continue
        source = next(tensors_in(calls[0].inputs), None)
        if id(source) not in producers or id(source) in handed_out:
            continue
        tokens = isinstance(modules[producers[id(source)]], nn.Linear) and source.dim() != 2
        if trace.readers_of(source) == ["batch_norm"] and not tokens:
            pairs.append((producers[id(source)], name))
    return pairs


def fold_batch_norm_(model: nn.Module, layer_name: str, norm_name: str) -> None:
    """Fold one BatchNorm into the layer before it; timm's ``BatchNormAct2d`` keeps its activation."""
    modules = modules_by_name(model)
    layer, norm = modules[layer_name], modules[norm_name]
    fuse = fusion.fuse_linear_bn_weights if isinstance(layer, nn.Linear) else fusion.fuse_conv_bn_weights
    mean, variance = norm.running_mean, norm.running_var
    gain, shift = norm.weight, norm.bias
    if gain is None:
        gain, shift = torch.ones_like(mean), torch.zeros_like(mean)
    layer.weight, layer.bias = fuse(layer.weight, layer.bias, mean, variance, norm.eps, gain, shift)
    kept = [norm._modules[name] for name in ("drop", "act") if norm._modules.get(name) is not None]
    kept = [module for module in kept if not isinstance(module, nn.Identity)]
    rest = nn.Identity() if not kept else kept[0] if len(kept) == 1 else nn.Sequential(*kept)
    replace_module(model, norm, rest)


def static_same_padding(layer: nn.Conv2d, image: Tensor) -> tuple[int, int, int, int]:
    """TensorFlow's 'same' padding (left, right, top, bottom) of a convolution for this input."""
    sides = pad_same_arg(list(image.shape[-2:]), layer.kernel_size, layer.stride, layer.dilation)
    return tuple(int(side) for side in sides)


def make_static_(model: nn.Module, layer_name: str, padding: tuple[int, int, int, int]) -> None:
    """Replace a convolution that pads dynamically by one with the given fixed padding."""
    old = modules_by_name(model)[layer_name]
    replace_module(model, old, with_static_padding(old, padding))


@torch.no_grad()
def behaves_like(layer: nn.Module, inputs: Tensor, output: Tensor, padding: tuple | None = None) -> bool:
    """Whether the layer's output is the plain operation of its type (after ``padding``, if given)."""
    try:
        if isinstance(layer, nn.Linear):
            plain = F.linear(inputs, layer.weight, layer.bias)
        elif padding is not None:
            padded, geometry = F.pad(inputs, padding), (layer.stride, 0, layer.dilation, layer.groups)
            plain = F.conv2d(padded, layer.weight, layer.bias, *geometry)
        else:
            plain = layer._conv_forward(inputs, layer.weight, layer.bias)
    except RuntimeError:  # the map is smaller than the kernel: the layer must pad by itself
        return False
    if not isinstance(output, Tensor) or plain.shape != output.shape:
        return False
    return bool((plain - output).abs().max() <= 1e-4 * output.abs().max().clamp_min(1e-3))
