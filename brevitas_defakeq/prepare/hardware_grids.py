"""Where integer hardware needs quantizers besides those at each layer's input (``target="fpga"``).

A layer's input quantizer becomes the thresholds behind the layer before it. What else hardware computes on
integers has to be quantized where it is made: the operands of a sum or a concatenation, on one grid; what is
pooled; what is normalized. The values are found in a trace, whatever functions and modules make them; a
quantizer sits in the module that returns one, else in the module whose forward makes it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import nn

from brevitas_defakeq.prepare.grids import Grids
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
    is_neutral,
    is_vector,
)
from brevitas_defakeq.prepare.quantizer_sites import QuantizerSites, event_of, event_site
from brevitas_defakeq.prepare.trace import Operation, TensorVersion, Trace, tensors_in, version_of
from brevitas_defakeq.prepare.value_quantizers import IMAGE


@dataclass(frozen=True)
class _Value:
    """What is known of a tensor: its grid (None: any real number), and whose codes it carries ("" for none).

    ``constant``: the parameter it is, "" for any other constant, None for what depends on the image.
    ``sums``: additions since the last quantizer. ``table``: one of them was of a constant.
    """

    grid: int | None = None
    codes: str = ""
    sums: int = 0
    table: bool = False
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
    finder.quantize_image()
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
        self.sites: dict[str, list[_Value]] = {}  # quantizer -> the values it sees
        replaced = (*layers, *attentions)
        self.finder = QuantizerSites(self.modules, traced, replaced, self.readers)

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
        if self._is_movement(operation) or name in MAX_POOLS or (name == "abs" and first.positive):
            return first
        if name in CLIPS:
            low, high = clip_bounds(operation)
            return _Value(positive=first.positive or low >= 0, ceiling=min(first.ceiling, high))
        if self._is_sum(operation):
            return self._summed(operation, sources)
        if name in MEAN_FUNCTIONS:
            return _Value(positive=first.positive, ceiling=first.ceiling)
        return _Value(positive=name in POSITIVE)

    def _is_movement(self, operation: Operation) -> bool:
        return operation.name in DATA_MOVEMENT or is_neutral(operation)

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
        sums = max(source.sums for source in moving) + (operation.name not in JOINS)
        table = len(moving) < len(sources) or any(source.table for source in moving)
        return _Value(grid, codes, sums, table, positive)

    def _merge(self, one: int, other: int) -> None:
        if self.groups[one] is not self.groups[other]:
            self.groups[one] += self.groups[other]
            merged = self.groups[other]
            self.groups = [self.groups[one] if group is merged else group for group in self.groups]

    # Where quantizers are put --------------------------------------------------------------------

    def quantize_image(self) -> None:
        """The image itself, where more than one layer reads it: each would have a grid of its own."""
        key = self.traced.image
        readers = [] if key is None else list(self._readers(key))
        reading = {operation.owner for operation in readers if operation.owner in self.layers}
        if key is not None and (len(reading) > 1 or any(map(self._works_on_integers, readers))):
            self.values[key] = self._quantized(event_site("", IMAGE), _Value())

    def _settled(self, key: TensorVersion, made: _Value) -> _Value:
        """The value behind a quantizer, if it needs one and there is a place for it."""
        found = None if made.codes else self.finder.find(key)
        if found is None or not any(self._is_needed(value, made) for value in found[1]):
            return made
        return self._quantized(found[0], made)

    def _quantized(self, site: str, made: _Value) -> _Value:
        if site in self.sites:  # of a module that is called repeatedly
            grid = next(number for number, group in enumerate(self.groups) if site in group)
        else:
            grid = len(self.groups)
            self.groups.append([site])
        self.sites.setdefault(site, []).append(made)
        return replace(made, grid=grid, codes=site, sums=0, table=False)

    def _is_needed(self, key: TensorVersion, made: _Value) -> bool:
        """Whether something that works on integers reads a value that is not integers, as it is or moved.

        A sum is integers, of one bit more. It is quantized where another sum would add to that, or a layer
        would quantize it for itself; but not within a residual block that normalizes it (a ViT's, behind the
        attention), nor within a sum of more than two.
        """
        readers = list(self._readers(key))
        if made.grid is None:
            return any(map(self._works_on_integers, readers))
        sums = [operation for operation in readers if self._is_sum(operation)]
        others = [operation for operation in readers if not self._is_sum(operation)]
        if not sums or any(operation.name in JOINS for operation in sums):
            return bool(sums)
        if others and all(operation.name in NORMS for operation in others):
            return made.sums > 1 or made.table
        return bool(others)

    def _works_on_integers(self, operation: Operation) -> bool:
        return self._is_sum(operation) or operation.name in MAX_POOLS | MEAN_FUNCTIONS | NORMS

    def _readers(self, key: TensorVersion) -> Iterator[Operation]:
        """The operations that read a value, as it is or moved."""
        for operation in self.readers.get(key, []):
            if is_idle(operation):
                continue
            if self._is_movement(operation) or operation.name == "abs":
                for moved in operation.outputs:
                    yield from self._readers(moved)
            else:
                yield operation

    # The result ----------------------------------------------------------------------------------

    def result(self) -> Grids:
        groups = list({id(group): tuple(group) for group in self.groups}.values())
        inputs = {
            name: [self.value(key) for key in self.traced.entered.get(name, [])] for name in self.layers
        }
        ready = {name: v[0].codes for name, v in inputs.items() if v and all(value.codes for value in v)}
        quantizers = dict(self.sites)
        quantizers |= {f"{name}.input_quant": values for name, values in inputs.items() if name not in ready}
        ceilings = {name: max(value.ceiling for value in values) for name, values in quantizers.items()}
        return Grids(
            shared=tuple(groups),
            positive=tuple(name for name, values in quantizers.items() if all(v.positive for v in values)),
            ceilings={name: high for name, high in ceilings.items() if math.isfinite(high)},
            ready=ready,
            callees={event[0]: self.finder.callees(event[0]) for event in map(event_of, self.sites) if event},
        )
