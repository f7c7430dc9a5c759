"""Observers: activation ranges from what the calibration images produce (Algorithm 1, steps 2-4).

Stock observers average per-batch percentiles; a percentile needs the whole tensor sorted and does not
know the width. Here a seeded sample of each activation is kept and clipped by least squared error.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from brevitas.proxy.runtime_quant import ActQuantProxyFromInjectorBase as ActivationProxy
from torch import Tensor, nn

from brevitas_defakeq.nn.module_tree import flag_set, removed_after
from brevitas_defakeq.quant.activation_quantizer import (
    activation_grid,
    activation_quantizer,
    code_range,
    has_zero_point,
    is_logarithmic,
    set_activation_range_,
    set_logarithm_,
    set_step_,
)
from brevitas_defakeq.quant.logarithmic_search import search_logarithm
from brevitas_defakeq.quant.range_search import search_interval, search_step

#: Values kept of each activation.
SAMPLE_SIZE = 32_768


class ActivationSample:
    """A bounded, evenly strided sample of one activation over many batches."""

    def __init__(self, batches: int) -> None:
        self.quota = max(1, SAMPLE_SIZE // max(1, batches))
        self.kept: list[Tensor] = []
        self.low, self.high = 0.0, 0.0

    def add(self, values: Tensor) -> None:
        flat = values.detach().flatten()
        self.low, self.high = min(self.low, float(flat.min())), max(self.high, float(flat.max()))
        # A stride without a common divisor visits all channels and positions; any other sees few of them.
        stride = max(1, flat.numel() // self.quota)
        while math.gcd(stride, flat.numel()) > 1:
            stride += 1
        self.kept.append(flat[::stride][: self.quota].clone())

    def values(self) -> Tensor:
        extremes = torch.tensor([self.low, self.high])
        return torch.cat([*self.kept, extremes.to(self.kept[0])])


def fit_range_(proxies: Sequence[ActivationProxy], samples: Sequence[ActivationSample]) -> None:
    """Set the clipping range of a quantizer, or of those that share a step, by least squared error."""
    first = proxies[0]
    if is_logarithmic(first):
        bits = activation_quantizer(first).msb_clamp_bit_width_impl().item()
        set_logarithm_(first, *search_logarithm(samples[0].values(), int(2**bits)))
        return
    if has_zero_point(first):
        levels = int(2 ** float(activation_grid(first)[2]))
        set_activation_range_(first, *search_interval(samples[0].values(), levels))
        return
    values = [sample.values() for sample in samples]
    step = search_step([(part, *code_range(proxy)) for part, proxy in zip(values, proxies, strict=True)])
    for proxy in proxies:
        set_step_(proxy, step)


def quantization_off(model: nn.Module) -> AbstractContextManager[None]:
    """Within the context every Brevitas proxy of ``model`` passes its input through."""
    return flag_set([m for m in model.modules() if hasattr(m, "disable_quant")], "disable_quant")


@torch.no_grad()
def calibrate_(
    model: nn.Module,
    proxies: Mapping[str, ActivationProxy],
    batches: Iterable[Tensor],
    *,
    count: int,
) -> None:
    """Observe ``count`` batches with quantization off, then set every range of ``proxies``."""
    samples = {name: ActivationSample(count) for name in proxies}
    handles = [
        proxy.register_forward_pre_hook(lambda _, inputs, name=name: samples[name].add(_plain(inputs[0])))
        for name, proxy in proxies.items()
    ]
    with removed_after(handles), quantization_off(model):
        for batch in batches:
            model(batch)
    groups: dict[nn.Module, list[str]] = {}
    for name, proxy in proxies.items():
        if samples[name].kept:
            groups.setdefault(activation_quantizer(proxy).scaling_impl, []).append(name)
    for names in groups.values():
        fit_range_([proxies[name] for name in names], [samples[name] for name in names])


def _plain(value: Any) -> Tensor:
    """The values of a Brevitas ``QuantTensor``, or the tensor itself."""
    return value.value if hasattr(value, "value") else value
