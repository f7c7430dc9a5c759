"""LayerNorms re-parameterized for per-tensor activations (RepQ-ViT, ICCV 2023, arXiv 2212.08254).

Behind a LayerNorm every channel gets the range it would have in a quantizer of its own, scaled and shifted to
a common one, and the layers that read it take both back. In float nothing changes.

| symbol | here |
|---|---|
| s_c, z_c | scale and zero point of channel c with the least squared error on calibration images |
| r_c | ``s_c / mean(s)`` |
| m_c | middle of the channel's range, ``s_c ((2^b - 1) / 2 - z_c)`` |

    gamma' = gamma / r,   beta' = (beta - m) / r,   W' = W r,   bias' = bias + W m

Our reading: the paper brings all channels to the mean of their zero points. Any one point will do, since the
shift stays in float; the middle also suits quantizers without a zero point.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from brevitas_defakeq.nn.module_tree import removed_after
from brevitas_defakeq.prepare.norm_readers import NormReaders, find_norm_readers
from brevitas_defakeq.prepare.trace import trace
from brevitas_defakeq.quant.range_search import search_rows

_LOG = logging.getLogger(__name__)

#: Values kept of each channel.
_ROWS = 2048
#: Least r_c: a channel that hardly changes is not blown up to the range of the others.
_SMALLEST_RATIO = 1e-3
#: Largest change of a result, over its largest value: of rounding, in a deep network.
_LARGEST_CHANGE = 1e-3


@torch.no_grad()
def equalize_norms_(
    model: nn.Module,
    layers: Sequence[str],
    head: str,
    batches: Sequence[Tensor],
    levels: int,
    results: Callable[[nn.Module, Tensor], tuple[Tensor, ...]],
) -> NormReaders:
    """Equalize every LayerNorm that quantized linear layers alone read, in place; log what is left alone.

    Args:
        model: M_f, prepared.
        layers: the layers to be quantized.
        head: the last of them.
        batches: calibration images, [N, 3, H, W] each.
        levels: codes of an activation, 2^b.
        results: what must not change (logit and feature).

    Returns:
        The norms that were equalized, with their readers, and why the others were not.
    """
    example = batches[0][:1]
    found = find_norm_readers(model, trace(model, example.clone()), layers, head)
    samples = _channel_samples(model, list(found.layers), batches)
    equalized, left_alone = {}, dict(found.left_alone)
    for name, readers in found.layers.items():
        before = results(model, example)
        ratio, middle = _channel_ranges(samples[name], levels)
        undo = _equalize_(model, name, readers, ratio, middle)
        if all(map(_equal, results(model, example), before)):
            equalized[name] = readers
        else:
            undo()
            left_alone[name] = "the network does not return the same"
    for name, reason in left_alone.items():
        _LOG.info("LayerNorm %s is not equalized: %s", name, reason)
    if not equalized:
        _LOG.warning("equalize_layernorm: there is no LayerNorm that only quantized linear layers read")
    return NormReaders(equalized, left_alone)


def _channel_samples(
    model: nn.Module, names: Sequence[str], batches: Sequence[Tensor]
) -> Mapping[str, Tensor]:
    """Norm -> its output at evenly strided positions, and every channel's extremes, [K, C]."""
    kept: dict[str, list[Tensor]] = {name: [] for name in names}

    def keep(name: str, _: nn.Module, __: object, output: Tensor) -> None:
        rows = output.flatten(0, -2)
        quota = max(1, _ROWS // len(batches))
        kept[name] += [rows[:: max(1, len(rows) // quota)][:quota], torch.stack([rows.amin(0), rows.amax(0)])]

    handles = [model.get_submodule(name).register_forward_hook(partial(keep, name)) for name in names]
    with removed_after(handles):
        for batch in batches:
            model(batch)
    return {name: torch.cat(parts) for name, parts in kept.items()}


def _channel_ranges(sample: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """r and m of every channel, float64 [C] each, of a sample [K, C]."""
    rows = sample.double().t()
    centre = rows.mean(dim=1, keepdim=True)  # the search's ranges hold 0, a channel's need not
    scale, zero_point = search_rows(rows - centre, levels, refits=0)
    middle = centre + scale * ((levels - 1) / 2 - zero_point)
    ratio = (scale / scale.mean()).clamp_min(_SMALLEST_RATIO)
    return ratio[:, 0], middle[:, 0]


def _equalize_(
    model: nn.Module, name: str, readers: Sequence[str], ratio: Tensor, middle: Tensor
) -> Callable[[], None]:
    """Move r and m out of a norm and into the layers that read it; returns what undoes it."""
    changed = [model.get_submodule(module) for module in (name, *readers)]
    norm, *layers = changed
    before = [(module.weight, module.bias) for module in changed]
    gamma, beta = norm.get_parameter("weight").double(), norm.get_parameter("bias").double()
    values = [(gamma / ratio, (beta - middle) / ratio)]
    for layer in layers:
        weight = layer.get_parameter("weight").double()
        moved = weight @ middle
        values.append((weight * ratio, moved if layer.bias is None else layer.get_parameter("bias") + moved))
    for module, (weight, bias) in zip(changed, values, strict=True):
        dtype = module.get_parameter("weight").dtype
        module.weight, module.bias = nn.Parameter(weight.to(dtype)), nn.Parameter(bias.to(dtype))

    def undo() -> None:
        for module, (weight, bias) in zip(changed, before, strict=True):
            module.weight, module.bias = weight, bias

    return undo


def _equal(value: Tensor, wanted: Tensor) -> bool:
    return bool((value - wanted).abs().max() <= _LARGEST_CHANGE * wanted.abs().max().clamp_min(1e-3))
