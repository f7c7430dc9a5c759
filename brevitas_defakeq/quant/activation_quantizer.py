"""Reading and setting the range of a Brevitas activation quantizer (stock modules, public attributes)."""

from collections.abc import Iterable

import torch
from brevitas.core.quant import RescalingIntQuant
from brevitas.proxy.runtime_quant import ActQuantProxyFromInjectorBase as ActivationProxy
from torch import Tensor, nn

from brevitas_defakeq.quant.logarithmic import LogarithmicQuant
from brevitas_defakeq.quant.range_search import SMALLEST_SCALE


class SharedStep(nn.Module):
    """Replaces ``scaling_impl``: the step that several quantizers have in common, signed or not."""

    def __init__(self, like: Tensor) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.ones_like(like))

    def forward(self, x: Tensor, largest_code: Tensor | None = None) -> Tensor:
        return self.value.abs().clamp_min(SMALLEST_SCALE)


def activation_quantizer(proxy: ActivationProxy) -> RescalingIntQuant:
    """The stock ``tensor_quant`` of an activation proxy, also while ``FusedActivation`` replaces it."""
    quantizer = proxy.fused_activation_quant_proxy.tensor_quant
    return getattr(quantizer, "stock", quantizer)


def activation_proxies(model: nn.Module) -> dict[str, ActivationProxy]:
    """Every enabled activation quantizer of ``model``, by dotted name, in module order."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, ActivationProxy) and module.fused_activation_quant_proxy is not None
    }


def has_zero_point(proxy: ActivationProxy) -> bool:
    """Whether its zero point is free; otherwise it is 0, or there is none."""
    quantizer = activation_quantizer(proxy)
    return not is_logarithmic(proxy) and hasattr(quantizer.zero_point_impl, "value")


def is_logarithmic(proxy: ActivationProxy) -> bool:
    return isinstance(activation_quantizer(proxy), LogarithmicQuant)


def is_shared(proxy: ActivationProxy) -> bool:
    return isinstance(activation_quantizer(proxy).scaling_impl, SharedStep)


def share_step_(proxies: Iterable[ActivationProxy]) -> None:
    """Give quantizers without zero points one step."""
    quantizers = [activation_quantizer(proxy) for proxy in proxies]
    step = SharedStep(quantizers[0].scaling_impl.value.detach())
    for quantizer in quantizers:
        quantizer.scaling_impl = step


@torch.no_grad()
def code_range(proxy: ActivationProxy) -> tuple[int, int]:
    """Its lowest and highest code."""
    quantizer = activation_quantizer(proxy)
    bit_width = quantizer.msb_clamp_bit_width_impl()
    lowest, highest = quantizer.int_quant.min_int(bit_width), quantizer.int_quant.max_int(bit_width)
    return round(float(lowest)), round(float(highest))


@torch.no_grad()
def set_activation_range_(proxy: ActivationProxy, low: float, high: float) -> None:
    """Clip the activation to ``[low, high]`` (``low <= 0 <= high``) and end any statistics phase."""
    quantizer = activation_quantizer(proxy)
    if not has_zero_point(proxy):
        set_step_(proxy, max(-low, high) / float(quantizer.int_scaling_impl(activation_grid(proxy)[2])))
        return
    quantizer.scaling_impl.value.fill_(high - low)
    quantizer.zero_point_impl.value.fill_(-low)
    mark_calibrated_(proxy)


@torch.no_grad()
def set_step_(proxy: ActivationProxy, step: float) -> None:
    """The distance of two codes, for quantizers without a zero point (and for all that share it)."""
    quantizer = activation_quantizer(proxy)
    bit_width = quantizer.msb_clamp_bit_width_impl()
    unit = 1.0 if is_shared(proxy) else float(quantizer.int_scaling_impl(bit_width))
    quantizer.scaling_impl.value.fill_(step * unit)
    mark_calibrated_(proxy)


@torch.no_grad()
def set_logarithm_(proxy: ActivationProxy, largest: float, shift: float, step: float) -> None:
    """The settings of a logarithmic quantizer: s, d and q."""
    quantizer = activation_quantizer(proxy)
    quantizer.scaling_impl.value.fill_(largest)
    quantizer.shift.fill_(shift)
    quantizer.step.fill_(step)


def mark_calibrated_(proxy: ActivationProxy) -> None:
    """End the statistics phase: from now on the learned range is used, in training mode too."""
    for observer in activation_quantizer(proxy).children():
        if hasattr(observer, "collect_stats_steps"):
            observer.counter = observer.collect_stats_steps + 1


def range_parameters(proxy: ActivationProxy) -> list[nn.Parameter]:
    """The learnable parameters of the range: its width and, with a zero point, its lower end; or s alone."""
    quantizer = activation_quantizer(proxy)
    learned = [quantizer.scaling_impl.value]
    return [*learned, quantizer.zero_point_impl.value] if has_zero_point(proxy) else learned


def stored_range(proxy: ActivationProxy) -> list[Tensor]:
    """What a file holds of the range: the parameters and, of a logarithmic one, d and q."""
    quantizer, learned = activation_quantizer(proxy), range_parameters(proxy)
    return [*learned, quantizer.shift, quantizer.step] if is_logarithmic(proxy) else [*learned]


@torch.no_grad()
def activation_grid(proxy: ActivationProxy) -> tuple[Tensor, Tensor, Tensor]:
    """Scale, integer zero point and bit-width as the quantizer uses them now (scalars)."""
    quantizer = activation_quantizer(proxy)
    placeholder = quantizer.scaling_impl.value.new_zeros(1)
    bit_width = quantizer.msb_clamp_bit_width_impl()
    scale = quantizer.scaling_impl(placeholder, quantizer.int_scaling_impl(bit_width))
    return scale, quantizer.zero_point_impl(placeholder, scale, bit_width), bit_width
