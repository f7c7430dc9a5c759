"""Quantized layers and quantizers replaced by export modules, in a copy of the model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from brevitas.nn import QuantIdentity
from brevitas.nn.quant_layer import QuantWeightBiasInputOutputLayer as QuantLayer
from brevitas.proxy.runtime_quant import ActQuantProxyFromInjectorBase as ActivationProxy
from torch import Tensor, nn

from brevitas_defakeq.nn.layer_kinds import layer_kind_of
from brevitas_defakeq.nn.module_tree import copy_module, modules_by_name, replace_modules
from brevitas_defakeq.prepare.plan import Plan
from brevitas_defakeq.quant.activation_quantizer import activation_grid, code_range
from brevitas_defakeq.utils.errors import UserError

B = TypeVar("B")


@dataclass(frozen=True)
class ByteGrid:
    """``x ~ scale (code - zero_point)`` on unsigned bytes; narrower ones use ``low`` to ``high``."""

    scale: float
    zero_point: int
    low: int
    high: int

    @property
    def range(self) -> tuple[float, float]:
        """The values of its lowest and its highest code."""
        return (self.low - self.zero_point) * self.scale, (self.high - self.zero_point) * self.scale


def byte_grid(proxy: ActivationProxy, name: str) -> ByteGrid:
    """The grid of an activation quantizer. A signed one is moved by 128: the same values."""
    scale, zero_point, bit_width = (tensor.detach() for tensor in activation_grid(proxy))
    low, high = code_range(proxy)
    if high - low > 255:
        raise UserError(f"{name}: {int(bit_width)}-bit activations have no form here; use 8 or fewer")
    shift = 128 if low < 0 else 0
    return ByteGrid(float(scale), int(zero_point.round()) + shift, low + shift, high + shift)


def export_module_builder(builders: Mapping[str, B], layer: QuantLayer, name: str) -> B:
    """The builder for the layer's kind. Raises UserError where the export format has none."""
    kind = layer_kind_of(layer)
    if kind.export_modules not in builders:
        raise UserError(f"{name}: this format has no export module for {kind.name}; keep the layer in float")
    return builders[kind.export_modules]


def with_export_modules(
    model: nn.Module,
    plan: Plan,
    build: Callable[[QuantLayer, str], nn.Module],
    activation: Callable[[ActivationProxy, str], nn.Module],
) -> nn.Module:
    """A copy of M_q or M_q^v with export modules in place of its quantized layers and quantizers.

    Args:
        build: (quantized layer, its name) -> its export module.
        activation: (activation quantizer, its name) -> its export module.
    """
    copy = copy_module(model)
    modules = modules_by_name(copy)
    made = {modules[planned.name]: build(modules[planned.name], planned.name) for planned in plan.layers}
    for product in plan.products.functional:
        layer = made[modules[product.layer]]
        if not isinstance(getattr(layer, "weight", None), Tensor):
            layer.__dict__["weight"] = torch.empty(0)  # what the function is called with; the layer answers
    for name, module in modules.items():
        if isinstance(module, QuantIdentity):
            made[module] = quantized_by(module.act_quant, name, activation)
    replace_modules(copy, made)
    return copy.eval()


def quantized_by(
    proxy: ActivationProxy, name: str, activation: Callable[[ActivationProxy, str], nn.Module]
) -> nn.Module:
    """``activation`` of an enabled quantizer; a disabled one passes values on."""
    return activation(proxy, name) if proxy.is_quant_enabled else nn.Identity()
