"""What every exported form shares: the grid of an activation, the padding of a convolution, the walk."""

from collections.abc import Callable
from dataclasses import dataclass

from brevitas.nn import QuantIdentity
from torch import nn

from brevitas_defakeq.float_reference import copy_module
from brevitas_defakeq.nn.module_tree import modules_by_name, replace_module
from brevitas_defakeq.nn.static_padding import StaticPad
from brevitas_defakeq.prepare.plan import Plan
from brevitas_defakeq.quant.activation_quantizer import activation_grid, code_range
from brevitas_defakeq.utils.errors import UserError


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


def byte_grid(proxy: nn.Module, name: str) -> ByteGrid:
    """The grid of an activation quantizer. A signed one is moved by 128: the same values."""
    scale, zero_point, bit_width = (tensor.detach() for tensor in activation_grid(proxy))
    low, high = code_range(proxy)
    if high - low > 255:
        raise UserError(f"{name}: {int(bit_width)}-bit activations have no form here; use 8 or fewer")
    shift = 128 if low < 0 else 0
    return ByteGrid(float(scale), int(zero_point.round()) + shift, low + shift, high + shift)


def conv_pads(layer: nn.Module, name: str) -> list[int]:
    """A convolution's zeros around its input, all begins then all ends, as ONNX puts it."""
    if layer.padding_mode != "zeros":
        raise UserError(f"{name}: padding_mode={layer.padding_mode!r} has no exported form; use zeros")
    if isinstance(layer.padding, str):
        whole = [
            d * (k - 1) * (layer.padding == "same")
            for k, d in zip(layer.kernel_size, layer.dilation, strict=True)
        ]
        begins, ends = [pad // 2 for pad in whole], [pad - pad // 2 for pad in whole]
    else:
        begins, ends = list(layer.padding), list(layer.padding)
    if isinstance(layer, StaticPad):
        left, right, top, bottom = layer.static_padding
        begins, ends = [begins[0] + top, begins[1] + left], [ends[0] + bottom, ends[1] + right]
    return begins + ends


def replaced(
    model: nn.Module,
    plan: Plan,
    layer: Callable[[nn.Module, str], nn.Module],
    activation: Callable[[nn.Module, str], nn.Module],
) -> nn.Module:
    """A copy of M_q or M_q^v with other modules in place of its quantized layers and quantizers.

    Args:
        layer: (quantized layer, its name) -> what stands there instead.
        activation: (activation quantizer, its name) -> the same.
    """
    form = copy_module(model)
    modules = modules_by_name(form)
    for planned in plan.layers:
        replace_module(form, modules[planned.name], layer(modules[planned.name], planned.name))
    for name, module in modules.items():
        if isinstance(module, QuantIdentity):
            replace_module(form, module, quantized_by(module.act_quant, name, activation))
    return form.eval()


def quantized_by(proxy: nn.Module, name: str, activation: Callable[[nn.Module, str], nn.Module]) -> nn.Module:
    """``activation`` of an enabled quantizer; a disabled one passes values on."""
    return activation(proxy, name) if proxy.is_quant_enabled else nn.Identity()
