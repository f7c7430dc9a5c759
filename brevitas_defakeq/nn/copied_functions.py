"""Functions and modules that a model holds as attributes, and what they call after a copy or a replacement.

``copy.deepcopy`` shares functions, and with them what they enclose: in a copy, a hook or a lambda would go on
to call the original. And a layer that is replaced may be held outside the module tree: by a list, by a bound
method (``self.fn = self.conv.forward``), by an object. All of these are led to the copy, or to the new layer.
"""

import copy
import weakref
from collections.abc import Callable, Collection, Mapping
from functools import partial
from types import BuiltinMethodType, CellType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from brevitas_defakeq.utils.errors import UserError, first_line

#: Hold nothing that could be led elsewhere.
_ATOMS = frozenset(
    {int, float, complex, bool, str, bytes, type(None), Tensor, nn.Parameter, torch.Size, torch.dtype,
     torch.device, torch.Generator, type, range, slice}
)  # fmt: skip
#: What every module holds and this walk has no need of: submodules, for one, are walked through themselves.
_STANDARD = frozenset(vars(nn.Module())) - {"_forward_hooks", "_forward_pre_hooks"}
#: Methods by which a module is called.
_CALLS = frozenset({"forward", "_wrapped_call_impl", "_call_impl"})


def rebind_copy_(copied: nn.Module, memo: Mapping[int, Any]) -> None:
    """Lead the functions that ``copied`` holds to the copies of what they enclose, in place.

    A held ``module.forward`` becomes a call of the module, which is what tracing and later passes see.

    Args:
        memo: that of the ``deepcopy``: ``id`` of an original -> its copy.

    Raises:
        UserError: a function of the model's encloses it and cannot be made anew; names where it is held.
    """
    owned = {id(value) for value in memo.values()}
    _Rebinding(copied, memo, owned).run()


def rebind_replaced_(model: nn.Module, new: Mapping[nn.Module, nn.Module]) -> None:
    """Lead everything that ``model`` holds of the replaced modules to the new ones, in place.

    Raises:
        UserError: a bound method is held that the new module lacks; names where.
    """
    _Rebinding(model, {id(old): made for old, made in new.items()}, None).run()


class _Rebinding:
    """One walk through all that a model holds.

    Args:
        found: ``id`` -> what takes its place.
        owned: ``id`` of what may be changed in place; None: everything that leads to something found.
    """

    def __init__(self, model: nn.Module, found: Mapping[int, Any], owned: Collection[int] | None) -> None:
        self.model, self.found, self.owned = model, found, owned
        self.names = {id(module): name for name, module in model.named_modules()}
        self.done: dict[int, Any] = {}
        self.alive: list[Any] = []  # so that no id is given twice
        self.where = ""

    def run(self) -> None:
        modules = list(self.model.modules())
        for module in modules:
            self.done[id(module)] = module
        for module in modules:
            self._attributes_(module)

    def __call__(self, value: Any) -> Any:
        """What takes the place of a value; the value itself where that is nothing else."""
        if type(value) in _ATOMS:
            return value
        key = id(value)
        if key in self.found:
            return self.found[key]
        if key not in self.done:
            self.alive.append(value)
            self.done[key] = value  # while it is walked through: it may hold itself
            self.done[key] = self._led(value)
        return self.done[key]

    def _led(self, value: Any) -> Any:
        if isinstance(value, MethodType | BuiltinMethodType):
            return self._method(value)
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, partial):
            return self._partial(value)
        if isinstance(value, weakref.ReferenceType):
            target = self.found.get(id(value()))
            return value if target is None else weakref.ref(target)
        if isinstance(value, tuple):
            return self._tuple(value)
        if isinstance(value, set | frozenset):
            items = [self(item) for item in value]
            return value if _same(items, value) else type(value)(items)
        if isinstance(value, list):
            return self._changed(value, dict(enumerate(value)), list.__setitem__)
        if isinstance(value, dict):
            return self._changed(value, dict(value), dict.__setitem__)
        if isinstance(value, type | ModuleType | Tensor) or not hasattr(value, "__dict__"):
            return value
        if isinstance(value, nn.Module) and not self._owns(value):
            return value
        return self._changed(value, vars(value), _set_attribute)

    def _owns(self, value: Any) -> bool:
        return self.owned is None or id(value) in self.owned

    def _attributes_(self, module: nn.Module) -> None:
        for name, held in list(vars(module).items()):
            if type(held) in _ATOMS or name in _STANDARD or _holds_nothing(held):
                continue
            self.where = ".".join(filter(None, (self.names.get(id(module), ""), name)))
            led = self(held)
            if led is not held:
                vars(module)[name] = led

    def _changed(self, value: Any, parts: Mapping[Any, Any], put: Callable[[Any, Any, Any], None]) -> Any:
        """A container or object with its parts led: itself where it is owned, else a shallow copy."""
        led = {key: self(part) for key, part in parts.items()}
        changed = {key: part for key, part in led.items() if part is not parts[key]}
        if not changed:
            return value
        target = value if self._owns(value) else self._shallow(value)
        for key, part in changed.items():
            put(target, key, part)
        return target

    def _shallow(self, value: Any) -> Any:
        try:
            made = copy.copy(value)
        except Exception as error:  # whatever the object holds decides
            raise self._refusal(value, first_line(error)) from None
        if made is value:
            raise self._refusal(value, "it cannot be copied")
        return made

    def _refusal(self, value: Any, reason: str) -> UserError:
        return UserError(
            f"{self.where} of the detector holds a {type(value).__name__} with modules of the detector in "
            f"it, which a copy would go on to call ({reason}); make it a method or a submodule"
        )

    # Functions -----------------------------------------------------------------------------------

    def _method(self, method: Any) -> Any:
        owner = method.__self__
        led, name = self(owner), method.__name__
        if name == "forward" and self._can_be_called(led):
            return led.__call__
        if led is owner:
            return method
        function = getattr(method, "__func__", None)
        if function is not None and (type(led) is type(owner) or not hasattr(type(owner), name)):
            return MethodType(function, led)
        if name in _CALLS:
            return led.__call__
        if not hasattr(led, name):
            raise UserError(
                f"{self.where} of the detector holds the method {name} of a {type(owner).__name__}, which "
                f"the {type(led).__name__} that takes its place lacks; call the layer itself"
            )
        return getattr(led, name)

    def _can_be_called(self, owner: Any) -> bool:
        """Whether a copied module's forward is all that a call of it runs, and is not held by its own."""
        return (
            self.owned is not None
            and isinstance(owner, nn.Module)
            and not isinstance(owner, torch.jit.ScriptModule)
            and "forward" not in vars(owner)
            and not (owner._forward_hooks or owner._forward_pre_hooks)
        )

    def _partial(self, value: partial) -> partial:
        parts = (value.func, value.args, value.keywords)
        function, args, options = (self(part) for part in parts)
        if _same((function, args, options), parts):
            return value
        return type(value)(function, *args, **options)

    def _tuple(self, value: tuple) -> tuple:
        items = [self(item) for item in value]
        if _same(items, value):
            return value
        make: Callable = getattr(type(value), "_make", type(value))
        return make(items)

    def _function(self, function: FunctionType) -> Any:
        compiled = getattr(function, "_torchdynamo_orig_callable", None)
        if compiled is not None:  # by torch.compile, with a cache of the original's graphs
            return self(compiled)
        cells = function.__closure__ or ()
        closure = [self._cell(cell) for cell in cells]
        defaults, options, attributes = (
            self(part) for part in (function.__defaults__, function.__kwdefaults__, vars(function))
        )
        parts = (function.__defaults__, function.__kwdefaults__, vars(function), *cells)
        if _same((defaults, options, attributes, *closure), parts):
            return function
        own = [index for index, cell in enumerate(cells) if _content(cell) is function]
        for index in own:
            closure[index] = CellType()
        made = FunctionType(
            function.__code__, function.__globals__, function.__name__, defaults, tuple(closure)
        )
        for index in own:
            closure[index].cell_contents = made
        made.__kwdefaults__, made.__qualname__, made.__doc__ = (
            options,
            function.__qualname__,
            function.__doc__,
        )
        vars(made).update(attributes)
        return made

    def _cell(self, cell: CellType) -> CellType:
        """The same cell for all functions that share a variable."""
        if id(cell) not in self.done:
            self.alive.append(cell)
            content = _content(cell)
            led = self(content)
            self.done[id(cell)] = cell if led is content else CellType(led)
        made: CellType = self.done[id(cell)]
        return made


def _holds_nothing(held: Any) -> bool:
    """Whether it is a tuple of numbers or an empty dict, as most attributes of layers are."""
    if type(held) is tuple:
        return all(type(item) in _ATOMS for item in held)
    return isinstance(held, dict) and not held


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # of a variable that was never set
        return None


def _set_attribute(target: Any, name: str, value: Any) -> None:
    vars(target)[name] = value


def _same(led: Collection[Any], before: Collection[Any]) -> bool:
    return all(new is old for new, old in zip(led, before, strict=True))
