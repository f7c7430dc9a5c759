"""Where integer hardware needs quantizers besides those at each layer's input (``target="fpga"``).

A layer's input quantizer becomes the thresholds behind the layer before it. What else hardware computes on
integers has to be quantized where it is made: the operands of a sum or a concatenation, on one grid; what is
pooled; what is normalized. The values are found in a trace; a quantizer sits where a module returns one.
"""

import math
from dataclasses import dataclass, field, replace

from torch import nn

from brevitas_defakeq.prepare.operations import (
    ADDITIONS,
    CLIPS,
    DATA_MOVEMENT,
    JOINS,
    MAX_POOLS,
    MEAN_FUNCTIONS,
    NORMS,
    POSITIVE,
    clip_bounds,
    is_idle,
    is_vector,
)
from brevitas_defakeq.prepare.trace import Operation, TensorVersion, Trace, tensors_in, version_of


@dataclass(frozen=True)
class Grids:
    """Quantizers by name: ``layer.input_quant``, ``module.output_quant``, or a raw parameter's own name.

    Attributes:
        shared: those on one grid, group by group; a group of one has a grid of its own.
        positive: those that see no negative value.
        ceilings: the largest value that comes out of the clip before them.
        ready: layers whose input carries codes already, which have no input quantizer -> whose codes.
    """

    shared: tuple[tuple[str, ...], ...] = ()
    positive: tuple[str, ...] = ()
    ceilings: dict[str, float] = field(default_factory=dict)
    ready: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, data: dict) -> "Grids":
        return cls(
            tuple(map(tuple, data["shared"])), tuple(data["positive"]), dict(data["ceilings"]),
            dict(data["ready"]),
        )  # fmt: skip


@dataclass(frozen=True)
class _Value:
    """What is known of a tensor: its grid (None: any real number), and whose codes it carries ("" for none).

    ``constant``: the parameter it is, "" for any other constant, None for what depends on the image.
    """

    grid: int | None = None
    codes: str = ""
    positive: bool = False
    ceiling: float = math.inf
    constant: str | None = None


def find_grids(
    model: nn.Module, traced: Trace, layers: tuple[str, ...], attentions: tuple[str, ...]
) -> Grids:
    """Read the trace of a prepared float model.

    Args:
        layers: those that will be quantized. ``attentions``: those that quantize their products themselves.
    """
    finder = _Finder(model, traced, layers, attentions)
    for operation in traced.operations:
        finder.follow(operation)
    return finder.result()


class _Finder:
    """Follows the operations in the order they ran."""

    def __init__(
        self, model: nn.Module, traced: Trace, layers: tuple[str, ...], attentions: tuple[str, ...]
    ) -> None:
        self.traced, self.layers, self.attentions = traced, layers, set(attentions)
        self.modules = dict(model.named_modules())
        tensors = [*model.named_parameters(), *model.named_buffers()]
        self.values = {version_of(tensor): _Value(constant=name) for name, tensor in tensors}
        self.shapes: dict[TensorVersion, tuple[int, ...]] = {}
        self.readers: dict[TensorVersion, list[Operation]] = {}
        for operation in traced.operations:
            read = tensors_in((operation.args, operation.options))
            for key, tensor in zip(operation.inputs, read, strict=True):
                self.readers.setdefault(key, []).append(operation)
                self.shapes[key] = tensor.shape
            self._note_constant(operation)
        self.groups: list[list[str]] = []  # grid -> its quantizers; merged ones hold the same list
        self.sites: dict[str, _Value] = {}

    def _note_constant(self, operation: Operation) -> None:
        """What is made of constants alone is one; a parameter that is only moved keeps its name."""
        names = [self.value(key).constant for key in operation.inputs]
        if None not in names:
            name = names[0] if len(names) == 1 and operation.name in DATA_MOVEMENT else ""
            self.values.update(dict.fromkeys(operation.outputs, _Value(constant=name)))

    # What each operation makes -------------------------------------------------------------------

    def follow(self, operation: Operation) -> None:
        sources = [self.value(key) for key in operation.inputs]
        if is_idle(operation) or all(source.constant is not None for source in sources):
            return
        made = self._made(operation, sources)
        for key in operation.outputs:
            self.values[key] = self._settled(key, made)

    def value(self, key: TensorVersion) -> _Value:
        return self.values.get(key, _Value())

    def _made(self, operation: Operation, sources: list[_Value]) -> _Value:
        name, first = operation.name, sources[0]
        if name in DATA_MOVEMENT or name in MAX_POOLS or (name == "abs" and first.positive):
            return first
        if name in CLIPS:
            return self._clipped(operation, first)
        if self._is_sum(operation):
            return self._summed(operation, sources)
        if name in MEAN_FUNCTIONS:
            return _Value(positive=first.positive, ceiling=first.ceiling)
        return _Value(positive=name in POSITIVE)

    def _clipped(self, operation: Operation, source: _Value) -> _Value:
        low, high = clip_bounds(operation)
        made = _Value(positive=source.positive or low >= 0, ceiling=min(source.ceiling, high))
        kept = source.grid is not None and self._holder(operation.outputs[0]) is None
        return replace(made, grid=source.grid) if kept else made

    def _is_sum(self, operation: Operation) -> bool:
        """A sum or concatenation of which integer hardware makes one; a bias goes into thresholds."""
        if operation.owner in self.attentions or operation.owner in self.layers:
            return False
        if operation.name in JOINS:
            return True
        return operation.name in ADDITIONS and len(operation.inputs) == 2 and not any(
            self.value(key).constant is not None and is_vector(self.shapes.get(key, ()))
            for key in operation.inputs
        )  # fmt: skip

    def _summed(self, operation: Operation, sources: list[_Value]) -> _Value:
        """On the operands' grid, which is one from now on."""
        moving = [source for source in sources if source.constant is None]
        grids = [source.grid for source in moving if source.grid is not None]
        if len(grids) < len(moving):
            return _Value()
        grid = grids[0]
        for other in grids[1:]:
            self._merge(grid, other)
        for name in filter(None, (source.constant for source in sources)):
            holder = next((i for i, group in enumerate(self.groups) if name in group), None)
            if holder is None:
                self.groups[grid].append(name)
            else:
                self._merge(grid, holder)
        joined = operation.name in JOINS and all(source.codes for source in moving)
        codes = moving[0].codes if joined else ""
        positive = all(source.positive for source in sources) and "sub" not in operation.name
        return _Value(grid, codes, positive)

    def _merge(self, one: int, other: int) -> None:
        if self.groups[one] is not self.groups[other]:
            self.groups[one] += self.groups[other]
            merged = self.groups[other]
            self.groups = [self.groups[one] if group is merged else group for group in self.groups]

    # Where quantizers are put --------------------------------------------------------------------

    def _settled(self, key: TensorVersion, made: _Value) -> _Value:
        """The value behind a quantizer, if it needs one and a module returns it."""
        if made.codes:
            return made
        needed = self._is_read(key, sums_only=made.grid is not None)
        holder = self._holder(key) if needed else None
        if holder is None:
            return made
        site = f"{holder}.output_quant"
        self.sites[site] = made
        self.groups.append([site])
        return replace(made, grid=len(self.groups) - 1, codes=site)

    def _holder(self, key: TensorVersion) -> str | None:
        """The innermost module that returns the value, and nothing else."""
        return next((name for name in self.traced.makers.get(key, []) if self._can_hold(name, key)), None)

    def _can_hold(self, name: str, key: TensorVersion) -> bool:
        """Called once, no container that would run a quantizer itself, no reader before it returns."""
        readers = [operation.owner for operation in self.readers.get(key, []) if not is_idle(operation)]
        inside = any(owner == name or owner.startswith(f"{name}.") for owner in readers)
        container = isinstance(self.modules[name], nn.Sequential | nn.ModuleList | nn.ModuleDict)
        return len(self.traced.calls[name]) == 1 and not inside and not container

    def _is_read(self, key: TensorVersion, *, sums_only: bool) -> bool:
        """Whether something that works on integers reads a value, as it is or moved."""
        return any(self._reads(operation, sums_only) for operation in self.readers.get(key, []))

    def _reads(self, operation: Operation, sums_only: bool) -> bool:
        if is_idle(operation):
            return False
        if self._is_sum(operation):
            return True
        if operation.name in MAX_POOLS | MEAN_FUNCTIONS | NORMS:
            return not sums_only
        output = operation.outputs[0]
        through = operation.name in DATA_MOVEMENT or (
            operation.name in CLIPS and self._holder(output) is None
        )
        through = through or operation.name == "abs"
        return through and any(self._is_read(key, sums_only=sums_only) for key in operation.outputs)

    # The result ----------------------------------------------------------------------------------

    def result(self) -> Grids:
        groups = list({id(group): tuple(group) for group in self.groups}.values())
        inputs = {
            name: [self.value(key) for key in self.traced.entered.get(name, [])] for name in self.layers
        }
        ready = {name: v[0].codes for name, v in inputs.items() if v and all(value.codes for value in v)}
        quantizers = {site: [value] for site, value in self.sites.items()}
        quantizers |= {f"{name}.input_quant": values for name, values in inputs.items() if name not in ready}
        ceilings = {name: max(value.ceiling for value in values) for name, values in quantizers.items()}
        return Grids(
            shared=tuple(groups),
            positive=tuple(name for name, values in quantizers.items() if all(v.positive for v in values)),
            ceilings={name: high for name, high in ceilings.items() if math.isfinite(high)},
            ready=ready,
        )
