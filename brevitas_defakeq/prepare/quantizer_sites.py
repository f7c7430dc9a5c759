"""Where the quantizer of a value goes, whether a module makes it or a torch function in a forward."""

from collections.abc import Collection, Mapping, Sequence

from torch import nn

from brevitas_defakeq.prepare.operations import is_idle
from brevitas_defakeq.prepare.trace import Operation, Origin, TensorVersion, Trace

_VALUES = "value_quants"


def event_site(module: str, event: int | str) -> str:
    """The name of the quantizer of an event of a module's forward (``prepare.value_quantizers``)."""
    return f"{module}.{_VALUES}.{event}".lstrip(".")


def event_of(site: str) -> tuple[str, str] | None:
    """The module and the event of such a name; None for any other."""
    owner, _, event = site.rpartition(".")
    module, _, kind = owner.rpartition(".")
    return (module, event) if kind == _VALUES else None


class QuantizerSites:
    """Finds them in a traced model.

    Args:
        layers, attentions: the modules that are replaced by quantized ones.
        readers: value -> the operations that read it.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        traced: Trace,
        replaced: Collection[str],
        readers: Mapping[TensorVersion, Sequence[Operation]],
    ) -> None:
        self.modules, self.traced, self.replaced, self.readers = modules, traced, set(replaced), readers
        self.made_at: dict[Origin, list[TensorVersion]] = {}
        for key, origins in traced.origins.items():
            for origin in origins:
                self.made_at.setdefault(origin, []).append(key)

    def find(self, key: TensorVersion) -> tuple[str, list[TensorVersion]] | None:
        """The name of a value's quantizer, and all values that it would see; None where it has no place.

        It belongs to the innermost module that returns the value, else to an event of a forward: outside a
        module that is called repeatedly and returns the value, so that each call has its own grid.
        """
        holder = next((name for name in self.traced.makers.get(key, []) if self._can_hold(name, key)), None)
        if holder is not None:
            return f"{holder}.output_quant", [key]
        origins = [
            origin for origin in self.traced.origins.get(key, []) if not self._is_inside_replaced(origin[0])
        ]
        for name, event in origins:
            if self._is_called_once(name) or self._is_read_in(name, key) or (name, event) == origins[-1]:
                return event_site(name, event), self.made_at[name, event]
        return None

    def callees(self, name: str) -> tuple[str, ...]:
        """The modules that a module's own forward calls, by their names in it."""
        inside = self.modules[name].named_modules(remove_duplicate=False)
        names = {id(part): path for path, part in inside if path}
        return tuple(names[id(self.modules[called])] for called in self.traced.callees.get(name, []))

    def _is_inside_replaced(self, name: str) -> bool:
        """Whether a module's forward is not that of the quantized network."""
        parts = name.split(".")
        return any(".".join(parts[: end + 1]) in self.replaced for end in range(len(parts)))

    def _is_called_once(self, name: str) -> bool:
        return not name or len(self.traced.calls[name]) == 1

    def _is_read_in(self, name: str, key: TensorVersion) -> bool:
        readers = [operation.owner for operation in self.readers.get(key, []) if not is_idle(operation)]
        return any(owner == name or owner.startswith(f"{name}.") for owner in readers)

    def _can_hold(self, name: str, key: TensorVersion) -> bool:
        """Called once, no container that would run a quantizer itself, no reader before it returns."""
        container = isinstance(self.modules[name], nn.Sequential | nn.ModuleList | nn.ModuleDict)
        return self._is_called_once(name) and not self._is_read_in(name, key) and not container
