"""What hooks keep between modules: features that one layer's hook puts aside and a later module reads.

A pass over a part of the network leaves such lists with entries that nobody reads.
"""

from collections.abc import Iterator, MutableMapping
from functools import partial
from types import FunctionType, MethodType
from typing import Any

from torch import nn

from brevitas_defakeq.nn.module_tree import has_hooks


class HookState:
    """The lists and dicts that hooks of the model's modules hold now, to put them back later."""

    def __init__(self, model: nn.Module) -> None:
        self.kept = [entry for part in model.modules() if has_hooks(part) for entry in _containers(part)]

    def restore(self) -> None:
        for holder, key, container, content in self.kept:
            container.clear()
            container.extend(content) if isinstance(container, list) else container.update(content)
            holder[key] = container


def has_hooks_inside(module: nn.Module) -> bool:
    """Whether a submodule, the module itself left out, has hooks."""
    return any(has_hooks(part) for part in module.modules() if part is not module)


_Entry = tuple[MutableMapping[Any, Any], Any, Any, Any]


def _containers(module: nn.Module) -> Iterator[_Entry]:
    """Holder, key, container and content of the lists and dicts that the module's hooks reach."""
    for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values()):
        for value in _reached(hook):
            held: Any = {"": value} if isinstance(value, list | dict) else getattr(value, "__dict__", {})
            for key, container in list(held.items()):
                if type(container) in (list, dict) and not (isinstance(value, nn.Module) and key[0] == "_"):
                    yield held, key, container, container.copy()


def _reached(hook: Any) -> Iterator[Any]:
    if isinstance(hook, MethodType):
        yield hook.__self__
    elif isinstance(hook, partial):
        yield from _reached(hook.func)
        yield from (*hook.args, *hook.keywords.values())
    elif isinstance(hook, FunctionType):
        for cell in hook.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:  # of a variable that was never set
                continue
    else:
        yield hook
