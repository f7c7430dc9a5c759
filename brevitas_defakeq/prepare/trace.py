"""One float forward, watched: what is called, in which order, on which shapes, and who reads its result.

Eager hooks and a ``TorchFunctionMode`` rather than FX, which fails on ViT, Swin and EfficientNet.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name

from brevitas_defakeq.errors import UserError
from brevitas_defakeq.nn.modules import eval_mode, removed_after


@dataclass
class Call:
    """One call of one module: its input and output, kept alive so that identities stay unique."""

    inputs: tuple
    options: dict
    output: object

    def single_tensor(self) -> bool:
        """Whether it maps one tensor (first argument) to one tensor."""
        others = [*self.inputs[1:], *self.options.values()]
        return (
            bool(self.inputs)
            and isinstance(self.inputs[0], Tensor)
            and isinstance(self.output, Tensor)
            and not any(isinstance(value, Tensor) for value in others)
        )


@dataclass
class Trace:
    """Calls by dotted module name, in order of the first call, and readers by ``id`` of a tensor."""

    calls: dict[str, list[Call]] = field(default_factory=dict)
    readers: dict[int, list[str]] = field(default_factory=dict)
    output: object = None

    def readers_of(self, tensor: Tensor) -> list[str]:
        return self.readers.get(id(tensor), [])


class _Readers(TorchFunctionMode):
    """Notes, for every tensor, which torch functions with a tensor result read it."""

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self.trace = trace
        self.alive: list = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if any(True for _ in tensors_in(result)):
            for tensor in tensors_in((args, kwargs or {})):
                self.alive.append(tensor)
                name = resolve_name(function) or getattr(function, "__name__", "?")
                self.trace.readers.setdefault(id(tensor), []).append(name.rsplit(".", 1)[-1])
            self.alive.append(result)
        return result


def tensors_in(value: object) -> Iterator[Tensor]:
    """Every tensor inside nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)


@torch.no_grad()
def trace(model: nn.Module, images: Tensor) -> Trace:
    """Run ``model`` once on ``images`` [N, 3, H, W] and return what happened.

    Raises:
        UserError: the model cannot be run on such images.
    """
    result = Trace()
    names = {module: name for name, module in model.named_modules() if name}
    handles = []

    def note(module: nn.Module, inputs: tuple, options: dict, output: object) -> None:
        result.calls.setdefault(names[module], []).append(Call(inputs, options, output))

    order: list[str] = []
    for module in names:
        handles.append(module.register_forward_pre_hook(lambda m, _: order.append(names[m])))
        handles.append(module.register_forward_hook(note, with_kwargs=True))
    try:
        with removed_after(handles), eval_mode(model), _Readers(result):
            result.output = model(images)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        shape = "x".join(str(size) for size in images.shape)
        raise UserError(
            f"the detector cannot be run on a batch of shape {shape}: {first}; give its --input-size, "
            "or wrap it so that forward takes an image batch"
        ) from error
    result.calls = {name: result.calls[name] for name in dict.fromkeys(order) if name in result.calls}
    return result
