"""Subclasses of Linear and convolutions: whether they compute what their kind does, and the layer that does.

timm's ``Conv2dSame`` pads by itself; its ``StdConv2d`` standardizes the weight before every call. Both are
the plain operation behind a fixed padding, with a constant weight. What a layer computes is found by a run.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from brevitas_defakeq.nn.layer_kind import LayerKind, Sides
from brevitas_defakeq.nn.layer_kinds import find_layer_kind, layer_kind_of
from brevitas_defakeq.nn.module_tree import bias_of, modules_by_name, weight_of
from brevitas_defakeq.nn.static_padding import StaticPad
from brevitas_defakeq.prepare.trace import Trace, function_name

#: An input of a layer and what the layer makes of it.
Pairs = Sequence[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Subclasses:
    """What was found.

    Attributes:
        plain: layer with a computed weight -> the layer of its kind's own class with that weight.
        paddings: layer that pads by itself -> the fixed padding.
        strangers: layer that computes something else -> the reason why it stays float.
    """

    plain: dict[str, nn.Module] = field(default_factory=dict)
    paddings: dict[str, Sides] = field(default_factory=dict)
    strangers: dict[str, str] = field(default_factory=dict)


@torch.no_grad()
def examine_subclasses(model: nn.Module, traced: Trace) -> Subclasses:
    """Run every layer that may compute something else on its traced inputs, and on noise."""
    found = Subclasses()
    for name, module in modules_by_name(model).items():
        kind = find_layer_kind(module)
        if kind is None or isinstance(module, StaticPad) or not called_plainly(traced, name):
            continue
        if _is_plain(module, kind):
            continue
        sources = [call.inputs[0] for call in traced.calls[name]]
        layer = _with_constant_weight(module, kind, sources[0])
        if layer is None:
            found.strangers[name] = f"{type(module).__name__} multiplies by another weight for every input"
            continue
        inputs = [*sources, noise_like(sources[0])]
        pairs = [(source, module(source.clone())) for source in inputs]
        if not all(behaves_like(layer, *pair) for pair in pairs):
            sides = _fixed_padding(layer, pairs)
            if sides is None:
                found.strangers[name] = f"{type(module).__name__} computes something else than {kind.name}"
                continue
            found.paddings[name] = sides
        if layer is not module:
            found.plain[name] = layer
    return found


def _is_plain(module: nn.Module, kind: LayerKind[Any]) -> bool:
    """Whether a layer's forward and its weight are those of its kind."""
    own_forward = "forward" in module.__dict__ or type(module).forward is not kind.float_class.forward
    return not own_forward and isinstance(module._parameters.get("weight"), Tensor)


def _with_constant_weight(module: nn.Module, kind: LayerKind[Any], source: Tensor) -> nn.Module | None:
    """The layer itself; or, if it multiplies by a computed weight, one that holds it; None if it varies."""
    own = module._parameters.get("weight")
    operands = _multiplied_by(module, kind, source)
    if operands is None or (operands[0] is own and own is not None):
        return module
    again = _multiplied_by(module, kind, noise_like(source))
    if again is None or not torch.equal(operands[0], again[0]):
        return None
    return plain_layer(module, *operands) if operands[0].shape == weight_of(module).shape else module


def _multiplied_by(
    module: nn.Module, kind: LayerKind[Any], source: Tensor
) -> tuple[Tensor, Tensor | None] | None:
    """Weight and bias of the one product of a layer's forward; None if it computes none or several."""
    with _Products(kind.functions) as products:
        module(source.clone())
    return products.operands[0] if len(products.operands) == 1 else None


class _Products(TorchFunctionMode):
    """Notes weight and bias of every call of the functions."""

    def __init__(self, functions: frozenset[str]) -> None:
        super().__init__()
        self.functions = functions
        self.operands: list[tuple[Tensor, Tensor | None]] = []

    def __torch_function__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = {**dict(zip(("input", "weight", "bias"), args, strict=False)), **(kwargs or {})}
        if function_name(function) in self.functions:
            self.operands.append((given["weight"], given.get("bias")))
        return function(*args, **(kwargs or {}))


def plain_layer(layer: nn.Module, weight: Tensor | None = None, bias: Tensor | None = None) -> nn.Module:
    """A layer of its kind's own class with this weight (None: its own) and the geometry of ``layer``."""
    if weight is None:
        weight, bias = weight_of(layer), bias_of(layer)
    cls: type[nn.Module] = layer_kind_of(layer).float_class
    new = cls.__new__(cls)
    new.__dict__.update(layer.__dict__)
    for name in ("weight", "bias", "forward"):  # set by a hook, or by a wrapper
        new.__dict__.pop(name, None)
    before = layer._parameters.get("weight")
    layout = torch.empty_like(weight if before is None else before)
    new._buffers, new._modules = {}, {}
    if before is None:
        new._forward_pre_hooks = type(layer._forward_pre_hooks)()  # one of them computes the weight
    new._parameters = {
        "weight": nn.Parameter(layout.copy_(weight.detach())),
        "bias": None if bias is None else nn.Parameter(bias.detach().clone()),
    }
    return new


def noise_like(inputs: Tensor) -> Tensor:
    """Normal noise, the same for every shape."""
    generator = torch.Generator(inputs.device).manual_seed(7919)
    return torch.empty_like(inputs).normal_(generator=generator)


def called_plainly(traced: Trace, name: str) -> bool:
    """Whether every call of a layer hands over one tensor and nothing else."""
    calls = traced.calls.get(name, [])
    return bool(calls) and all(len(call.inputs) == 1 and not call.options for call in calls)


# Paddings --------------------------------------------------------------------------------------------


def _fixed_padding(layer: nn.Module, pairs: Pairs) -> Sides | None:
    """The one fixed padding under which a layer's plain operation makes these outputs of these inputs."""
    find = layer_kind_of(layer).same_padding
    found = {None if find is None else find(layer, source) for source, _ in pairs}
    sides = found.pop()
    if found or sides is None:
        return None
    static = with_padding(layer, sides)
    return sides if all(behaves_like(static, *pair) for pair in pairs) else None


def with_padding(layer: nn.Module, sides: Sides) -> nn.Module:
    """The layer with a fixed padding in place of the one it finds by itself; weight and bias are shared."""
    kind = layer_kind_of(layer)
    if kind.with_padding is None:
        raise TypeError(f"layers of kind {kind.name} have no fixed padding")
    return kind.with_padding(layer, sides)


@torch.no_grad()
def behaves_like(layer: nn.Module, inputs: Tensor, output: Tensor) -> bool:
    """Whether ``output`` is what the plain operation of the layer's kind makes of ``inputs``."""
    try:
        plain = layer_kind_of(layer).operation(layer, inputs, weight_of(layer), bias_of(layer))
    except RuntimeError:  # the map is smaller than the kernel: the layer must pad by itself
        return False
    if not isinstance(output, Tensor) or plain.shape != output.shape:
        return False
    return bool((plain - output).abs().max() <= 1e-4 * output.abs().max().clamp_min(1e-3))
