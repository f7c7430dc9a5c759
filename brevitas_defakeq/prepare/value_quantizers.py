"""Quantizers of values that no module returns: results of torch functions and of modules called repeatedly.

A module's own forward is a fixed sequence of events (``trace.Origin``): torch functions and calls of other
modules. A value is known by the number of the event that makes it, and quantized as it arises. So it does not
matter whether a network writes ``F.relu(x + y)``, ``self.relu(self.add(x, y))`` or ``x += y; x.relu_()``.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from brevitas_defakeq.prepare.trace import tensors_in

#: The event of the model's input.
IMAGE = "image"


class ValueQuantizers(nn.ModuleDict):
    """Event -> quantizer of what it makes; a submodule of the module whose events these are.

    Args:
        callees: the modules whose calls are events, by their names in that module.
        hidden: modules that quantize raw parameters, which are no events.
    """

    def __init__(self, callees: Iterable[str], hidden: Iterable[str]) -> None:
        super().__init__()
        self.callees, self.hidden = tuple(callees), tuple(hidden)

    def forward(self, x: Any) -> Any:
        """Nothing: an ``nn.Sequential`` runs whatever it contains."""
        return x


def add_value_quantizer_(module: nn.Module, event: str, quantizer: nn.Module, callees: Iterable[str]) -> None:
    """Quantize what an event of the module's forward makes, in place, after all raw parameters."""
    if "value_quants" not in module._modules:
        parts = (name for name, part in module.named_modules() if isinstance(part, ParametrizationList))
        module.value_quants = ValueQuantizers(callees, set(parts) - set(callees))
        # On the instance: it then also runs in a recomputed forward, which hooks would not see.
        module.forward = partial(_run_watched, module, module.forward)
    module.get_submodule("value_quants").register_module(event, quantizer)


def _run_watched(module: nn.Module, forward: Callable, *args: Any, **options: Any) -> Any:
    quantizers = module.get_submodule("value_quants")
    assert isinstance(quantizers, ValueQuantizers)
    if IMAGE in quantizers:
        args = (quantizers[IMAGE](args[0]), *args[1:])
    with _Events(module, quantizers):
        return forward(*args, **options)


class _Events(TorchFunctionMode):
    """Counts the events of one forward and quantizes what some of them make."""

    def __init__(self, module: nn.Module, quantizers: ValueQuantizers) -> None:
        super().__init__()
        self.module, self.quantizers = module, quantizers
        self.count, self.depth = 0, 0
        self.changed: Tensor | None = None
        self.handles: list[RemovableHandle] = []

    def __enter__(self) -> "_Events":
        for name in self.quantizers.callees:
            self._hook(name, self._enter, self._leave)
        for name in self.quantizers.hidden:
            self._hook(name, self._hide, self._show)
        super().__enter__()
        return self

    def _hook(self, name: str, before: Callable, after: Callable) -> None:
        part = self.module.get_submodule(name)
        self.handles += [part.register_forward_pre_hook(before), part.register_forward_hook(after)]

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for handle in self.handles:
            handle.remove()

    # Torch functions -----------------------------------------------------------------------------

    def __torch_function__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        options = kwargs or {}
        if self.depth:
            return function(*args, **options)
        quantizer = self._next()
        changed = args[0] if quantizer is not None and _in_place(function, args, options) else None
        if changed is not None:
            args = (changed.clone(), *args[1:])
        result = function(*args, **options)
        if not any(True for _ in tensors_in(result)):
            return result
        self.count += 1
        if quantizer is None:
            return result
        return _quantized(quantizer, result, changed if args and result is args[0] else None)

    def _next(self) -> nn.Module | None:
        key = str(self.count + 1)
        return self.quantizers[key] if key in self.quantizers else None  # noqa: SIM401 (a ModuleDict has no get)

    # Calls of modules ----------------------------------------------------------------------------

    def _enter(self, callee: nn.Module, inputs: tuple) -> tuple | None:
        self.depth += 1
        if self.depth > 1 or self._next() is None or not inputs or not getattr(callee, "inplace", False):
            return None
        self.changed = inputs[0]
        return (inputs[0].clone(), *inputs[1:])

    def _leave(self, callee: nn.Module, inputs: tuple, output: Any) -> Tensor | None:
        if self.depth > 1:
            self.depth -= 1
            return None
        quantizer, changed, self.changed = self._next(), self.changed, None
        self.count += 1
        result = None
        if quantizer is not None:  # no event itself
            result = _quantized(quantizer, output, changed if inputs and output is inputs[0] else None)
        self.depth -= 1
        return result

    def _hide(self, part: nn.Module, inputs: tuple) -> None:
        self.depth += 1

    def _show(self, part: nn.Module, inputs: tuple, output: Any) -> None:
        self.depth -= 1


def _quantized(quantizer: nn.Module, result: Tensor, changed: Tensor | None) -> Tensor:
    """The quantized result, put into the tensor that the event was to change (it got a copy of that)."""
    return quantizer(result) if changed is None else changed.copy_(quantizer(result))


def _in_place(function: Callable, args: tuple, options: dict) -> bool:
    """Whether a torch function may change its first argument."""
    name = getattr(function, "__name__", "")
    asked = options.get("inplace", False) or any(value is True for value in args[1:])
    marked = (name.endswith("_") and not name.endswith("__")) or name.startswith("__i")
    return bool(args) and isinstance(args[0], Tensor) and (asked or marked)
