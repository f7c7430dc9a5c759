"""Costs of layers on a chip at each width, as read by ``hardware_costs_file``.

There are one or several tables, each at a frame rate: a faster one takes more of the chip. The use that does
not depend on the weights' widths (line buffers, padding, pooling) is ``fixed``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from brevitas_defakeq.haq.constraint import Constraint
from brevitas_defakeq.quant.widths import width_of
from brevitas_defakeq.utils.errors import UserError

#: Resources that add up over the layers -> unit in messages. Cycles do not: the slowest layer sets the rate.
UNITS = {"lut": " LUT", "bram": " BRAM18", "dsp": " DSP"}
RESOURCES = (*UNITS, "cycles")


@dataclass(frozen=True)
class CostTable:
    """Costs at one frame rate.

    Attributes:
        fps: frames a second that the folding was chosen for.
        fixed: resource -> use outside the layers; for cycles, that of the slowest part.
        layers: layer -> resource -> cost at each of the file's widths.
    """

    fps: float
    fixed: Mapping[str, float]
    layers: Mapping[str, Mapping[str, Sequence[float]]]

    def combined(self, parts: Sequence[str]) -> dict[str, tuple[float, ...]]:
        """Costs of several products that share a width."""
        rows = {name: [self.layers[part][name] for part in parts] for name in RESOURCES}
        return {
            name: tuple(map(max if name == "cycles" else sum, zip(*found, strict=True)))
            for name, found in rows.items()
        }


@dataclass(frozen=True, kw_only=True)
class HardwareCosts:
    """The whole file.

    Attributes:
        board: name of the board.
        bits: ascending widths.
        shapes: layer -> shape of its weight, as in torch.
        tables: slowest rate first.
        digest: SHA-256 of the file, part of a run's identity.
    """

    board: str
    bits: tuple[int, ...]
    shapes: Mapping[str, tuple[int, ...]]
    tables: tuple[CostTable, ...]
    digest: str

    def of_layers(
        self, shapes: Mapping[str, tuple[int, ...]], candidate_bits: Sequence[float]
    ) -> "HardwareCosts":
        """Costs by the layers of a detector; the products of one layer are added up.

        A layer has several for q, k and v of an attention (``LAYER.q``) and for calls after its first
        (``LAYER.2``).

        Args:
            shapes: layer -> shape of its weight.
            candidate_bits: widths that may be chosen.

        Raises:
            UserError: costs of another network, or no costs for one of the widths.
        """
        absent = [bits for bits in candidate_bits if width_of(bits).container_bits not in self.bits]
        if absent:
            raise UserError(
                f"the costs have no width {absent[0]:g}, only {', '.join(map(str, self.bits))}; "
                "choose candidate_bits among them"
            )
        parts = {
            name: [part for part in self.shapes if part == name or part.startswith(f"{name}.")]
            for name in shapes
        }
        self._check_fits(shapes, parts)
        tables = tuple(
            CostTable(table.fps, table.fixed, {name: table.combined(parts[name]) for name in shapes})
            for table in self.tables
        )
        return replace(self, shapes=dict(shapes), tables=tables)

    def _check_fits(self, shapes: Mapping[str, tuple[int, ...]], parts: Mapping[str, list[str]]) -> None:
        missing = [name for name in shapes if not parts[name]]
        known = {part for found in parts.values() for part in found}
        strange = [name for name in self.shapes if name not in known]
        other = [
            name for name in shapes
            if parts[name] and not _is_made_of(shapes[name], [self.shapes[part] for part in parts[name]])
        ]  # fmt: skip
        if missing or strange or other:
            if missing:
                what = f"lack layer {missing[0]}"
            elif strange:
                what = f"hold a layer {strange[0]} that it has not"
            else:
                found, own = self.shapes[parts[other[0]][0]], shapes[other[0]]
                what = f"hold {other[0]} with a weight of shape {list(found)}, it has {list(own)}"
            raise UserError(f"the costs are not of this detector: they {what}; write them from a run of it")

    def usage(
        self, table: CostTable, resource: str, layers: Iterable[str], candidate_bits: Sequence[float]
    ) -> np.ndarray:
        """[L, B]; a fractional width takes whole bits on a chip."""
        indices = [self.bits.index(width_of(bits).container_bits) for bits in candidate_bits]
        return np.asarray([[table.layers[name][resource][at] for at in indices] for name in layers], float)

    def constraints(
        self, table: CostTable, budget: Mapping[str, float], layers: Sequence[str],
        candidate_bits: Sequence[float],
    ) -> list[Constraint]:  # fmt: skip
        """The budgets that add up over the layers."""
        return [
            Constraint(
                name=resource, usage=self.usage(table, resource, layers, candidate_bits), limit=limit,
                fixed=table.fixed[resource], unit=UNITS[resource],
            )
            for resource, limit in budget.items() if resource in UNITS
        ]  # fmt: skip

    def totals(self, table: CostTable, bits: Mapping[str, float]) -> dict[str, float]:
        """Resource -> use by a detector of these widths (layer -> width) at the table's rate."""
        names = list(bits)
        own = {
            resource: [float(self.usage(table, resource, [name], [bits[name]])[0, 0]) for name in names]
            for resource in RESOURCES
        }
        added = {resource: table.fixed[resource] + sum(own[resource]) for resource in UNITS}
        return {**added, "cycles": max(table.fixed["cycles"], *own["cycles"])}


def _is_made_of(shape: tuple[int, ...], parts: Sequence[tuple[int, ...]]) -> bool:
    """Whether weights of these shapes are those of one layer: the whole weight each time, or rows of it.

    A grouped convolution becomes a dense one on a chip: its inputs are a multiple of the layer's.
    """
    rows = [part[0] for part in parts]
    whole = set(rows) == {shape[0]} or sum(rows) == shape[0]
    same = all(part[2:] == shape[2:] and len(part) == len(shape) for part in parts)
    return whole and same and all(part[1] % shape[1] == 0 for part in parts)
