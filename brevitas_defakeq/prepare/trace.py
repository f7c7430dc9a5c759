"""One traced float forward: what is called, in which order, on which shapes, and who reads its result.

Eager hooks and a ``TorchFunctionMode`` rather than FX, which fails on ViT, Swin and EfficientNet.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name

from brevitas_defakeq.nn.batch_input import copied_containers
from brevitas_defakeq.nn.module_tree import eval_mode, removed_after
from brevitas_defakeq.utils.errors import UserError, first_line


@dataclass
class Call:
    """One call of one module: its input and output, kept alive so that identities stay unique."""

    inputs: tuple
    options: dict
    output: object

    def tensor(self) -> Tensor:
        """The output of a module that returns one tensor, such as a layer."""
        if not isinstance(self.output, Tensor):
            raise TypeError(f"{type(self.output).__name__} where one tensor was expected")
        return self.output

    def single_tensor(self) -> bool:
        """Whether it maps one tensor (first argument) to one tensor."""
        others = (self.inputs[1:], self.options)
        return (
            bool(self.inputs)
            and isinstance(self.inputs[0], Tensor)
            and isinstance(self.output, Tensor)
            and not any(True for _ in tensors_in(others))
        )


#: A value: a tensor and how often it had been changed in place.
TensorVersion = tuple[int, int]


#: Where a value arises: a module ("" for the model), and which event of its own forward made it. An event is
#: a torch function with a tensor result, or a call of another module, whatever happens in that one.
Origin = tuple[str, int]


def version_of(tensor: Tensor) -> TensorVersion:
    return id(tensor), 0 if tensor.is_inference() else tensor._version


@dataclass
class Operation:
    """One torch function with a tensor result: what it read and made, and the module it ran in."""

    name: str
    args: tuple
    options: dict
    inputs: tuple[TensorVersion, ...]
    outputs: tuple[TensorVersion, ...]
    owner: str


@dataclass
class Trace:
    """Calls by dotted module name, in order of the first call, and readers by ``id`` of a tensor.

    Attributes:
        operations: in the order of their calls.
        makers: value -> the modules that returned it, innermost first.
        entered: module -> the first tensor of each call.
        origins: value -> where it arises, innermost module first.
        callees: module -> the modules that its own forward calls.
        image: the model's input; images: its values, [N, 3, H, W].
    """

    calls: dict[str, list[Call]] = field(default_factory=dict)
    readers: dict[int, list[str]] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)
    makers: dict[TensorVersion, list[str]] = field(default_factory=dict)
    entered: dict[str, list[TensorVersion]] = field(default_factory=dict)
    origins: dict[TensorVersion, list[Origin]] = field(default_factory=dict)
    callees: dict[str, list[str]] = field(default_factory=dict)
    image: TensorVersion | None = None
    images: Tensor = field(default_factory=lambda: torch.empty(0))
    output: object = None

    def readers_of(self, tensor: Tensor) -> list[str]:
        return self.readers.get(id(tensor), [])

    def modules_reading(self) -> dict[TensorVersion, set[str]]:
        """Value -> the modules in which torch functions read it."""
        found: dict[TensorVersion, set[str]] = {}
        for operation in self.operations:
            for value in operation.inputs:
                found.setdefault(value, set()).add(operation.owner)
        return found


class _Running:
    """The modules that run now, and how many events each has had."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.frames: list[tuple[str, int]] = [("", 0)]

    @property
    def innermost(self) -> str:
        return self.frames[-1][0]

    def enter(self, name: str) -> None:
        callees = self.trace.callees.setdefault(self.innermost, [])
        if name not in callees:
            callees.append(name)
        self.frames.append((name, 0))

    def leave(self, output: object) -> None:
        self.frames.pop()
        self.note_event(output)

    def note_event(self, result: object, inputs: Collection[TensorVersion] = ()) -> None:
        name, count = self.frames.pop()
        self.frames.append((name, count + 1))
        if isinstance(result, Tensor) and version_of(result) not in inputs:
            self.trace.origins.setdefault(version_of(result), []).append((name, count + 1))


class _Readers(TorchFunctionMode):
    """Notes, for every tensor, which torch functions with a tensor result read it."""

    def __init__(self, trace: Trace, running: _Running) -> None:
        super().__init__()
        self.trace, self.running = trace, running
        self.alive: list = []

    def __torch_function__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        inputs = tuple(map(version_of, tensors_in((args, kwargs))))
        given, options = copied_containers(args), copied_containers(kwargs or {})
        result = function(*args, **(kwargs or {}))
        if any(True for _ in tensors_in(result)):
            name = function_name(function)
            for tensor in tensors_in((given, options)):
                self.alive.append(tensor)
                self.trace.readers.setdefault(id(tensor), []).append(name)
            outputs = tuple(map(version_of, tensors_in(result)))
            owner = self.running.innermost
            self.trace.operations.append(Operation(name, given, options, inputs, outputs, owner))
            self.running.note_event(result, inputs)
            self.alive.append(copied_containers(result))
        return result


def function_name(function: Callable) -> str:
    """The last part of a torch function's name: "conv2d"."""
    return (resolve_name(function) or getattr(function, "__name__", "?")).rsplit(".", 1)[-1]


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
    result = Trace(image=version_of(images), images=images.clone())
    names = {module: name for name, module in model.named_modules() if name}
    handles = []

    order: list[str] = []
    running = _Running(result)
    given: list[tuple[tuple, dict]] = []  # before the module runs, which may change its arguments

    def enter(module: nn.Module, inputs: tuple, options: dict) -> None:
        order.append(names[module])
        running.enter(names[module])
        given.append((copied_containers(inputs), copied_containers(options)))
        result.entered.setdefault(names[module], []).extend(map(version_of, list(tensors_in(inputs))[:1]))

    def note(module: nn.Module, _: tuple, output: object) -> None:
        running.leave(output)
        call = Call(*given.pop(), copied_containers(output))
        result.calls.setdefault(names[module], []).append(call)
        if isinstance(output, Tensor):
            result.makers.setdefault(version_of(output), []).append(names[module])

    for module in names:
        handles.append(module.register_forward_pre_hook(enter, with_kwargs=True))
        handles.append(module.register_forward_hook(note))
    with removed_after(handles), eval_mode(model), _Readers(result, running), refused_if_it_fails(images):
        result.output = model(images)
    result.calls = {name: result.calls[name] for name in dict.fromkeys(order) if name in result.calls}
    return result


@contextmanager
def refused_if_it_fails(images: Tensor) -> Iterator[None]:
    """A model's own failure on ``images`` [N, 3, H, W] becomes a UserError that names the reason."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # the user's code may raise anything
        shape = "x".join(str(size) for size in images.shape)
        raise UserError(
            f"the detector cannot be run on a batch of shape {shape}: "
            f"{first_line(error).rstrip('.')}; give its --input-size, "
            "or wrap it so that forward takes an image batch"
        ) from error
