"""Reading and setting the range of a Brevitas activation quantizer (stock parts, public attributes)."""

import torch
from brevitas.proxy.runtime_quant import ActQuantProxyFromInjectorBase
from torch import Tensor, nn


def activation_quantizer(proxy: nn.Module) -> nn.Module:
    """The stock ``tensor_quant`` behind an activation proxy (also while a fused form stands in for it)."""
    quantizer = proxy.fused_activation_quant_proxy.tensor_quant
    return getattr(quantizer, "stock", quantizer)


def activation_proxies(model: nn.Module) -> dict[str, nn.Module]:
    """Every enabled activation quantizer of ``model``, by dotted name, in module order."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, ActQuantProxyFromInjectorBase)
        and module.fused_activation_quant_proxy is not None
    }


def is_symmetric(proxy: nn.Module) -> bool:
    return bool(proxy.is_signed)


@torch.no_grad()
def set_activation_range_(proxy: nn.Module, low: float, high: float) -> None:
    """Clip the activation to ``[low, high]`` (``low <= 0 <= high``) and end any statistics phase."""
    quantizer = activation_quantizer(proxy)
    scaling, zero_point = quantizer.scaling_impl, quantizer.zero_point_impl
    scaling.value.fill_(max(-low, high) if is_symmetric(proxy) else high - low)
    if not is_symmetric(proxy):
        zero_point.value.fill_(-low)
    mark_calibrated_(proxy)


def mark_calibrated_(proxy: nn.Module) -> None:
    """End the statistics phase: from now on the learned range is used, in training mode too."""
    quantizer = activation_quantizer(proxy)
    for part in (quantizer.scaling_impl, quantizer.zero_point_impl):
        if hasattr(part, "collect_stats_steps"):
            part.counter = part.collect_stats_steps + 1


def range_parameters(proxy: nn.Module) -> list[nn.Parameter]:
    """The learnable parameters of the range: its width and, when asymmetric, its lower end."""
    quantizer = activation_quantizer(proxy)
    learned = [quantizer.scaling_impl.value]
    return learned if is_symmetric(proxy) else [*learned, quantizer.zero_point_impl.value]


@torch.no_grad()
def activation_grid(proxy: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """Scale, integer zero point and bit-width as the quantizer uses them now (scalars)."""
    quantizer = activation_quantizer(proxy)
    placeholder = quantizer.scaling_impl.value.new_zeros(1)
    bit_width = quantizer.msb_clamp_bit_width_impl()
    scale = quantizer.scaling_impl(placeholder, quantizer.int_scaling_impl(bit_width))
    return scale, quantizer.zero_point_impl(placeholder, scale, bit_width), bit_width
