"""What layers cost on a chip at each width: the file that ``hw/costs.py`` writes, checked and looked up.

It holds one table or several, each at a frame rate: a faster one takes more of the chip. Whatever does not
belong to a layer's weights (line buffers, thresholds, pooling) is ``fixed``.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brevitas_defakeq.errors import UserError
from brevitas_defakeq.files import read_json, understanding
from brevitas_defakeq.haq.constraint import Constraint

FORMAT_VERSION = 1
#: What adds up over the layers, and how a message calls it. Cycles do not: the slowest layer sets the rate.
UNITS = {"lut": " LUT", "bram": " BRAM18", "dsp": " DSP"}
RESOURCES = (*UNITS, "cycles")


@dataclass(frozen=True)
class CostTable:
    """Costs at one frame rate.

    Attributes:
        fps: frames a second that the folding was chosen for.
        fixed: resource -> what everything but the layers takes; of the cycles, the slowest part's.
        layers: layer -> resource -> one figure for each of the file's widths.
    """

    fps: float
    fixed: Mapping[str, float]
    layers: Mapping[str, Mapping[str, Sequence[float]]]


@dataclass(frozen=True)
class HardwareCosts:
    """The whole file.

    Attributes:
        board: where.
        bits: ascending widths.
        shapes: layer -> shape of its weight, as torch has it.
        tables: slowest rate first.
        digest: SHA-256 of the file, part of a run's identity.
    """

    board: str
    bits: tuple[int, ...]
    shapes: Mapping[str, tuple[int, ...]]
    tables: tuple[CostTable, ...]
    digest: str

    def check_fits(self, shapes: Mapping[str, tuple[int, ...]], candidate_bits: Sequence[float]) -> None:
        """Refuse costs of another network, or without a width that may be chosen."""
        missing = [name for name in shapes if name not in self.shapes]
        strange = [name for name in self.shapes if name not in shapes]
        other = [name for name in shapes if name in self.shapes and self.shapes[name] != tuple(shapes[name])]
        if missing or strange or other:
            what = (
                f"lack layer {missing[0]}" if missing
                else f"hold a layer {strange[0]} that it has not" if strange
                else f"hold {other[0]} with a weight of shape {list(self.shapes[other[0]])}, it has "
                f"{list(shapes[other[0]])}"
            )  # fmt: skip
            raise UserError(f"the costs are not of this detector: they {what}; write them from a run of it")
        absent = [bits for bits in candidate_bits if math.ceil(bits) not in self.bits]
        if absent:
            raise UserError(
                f"the costs have no width {absent[0]:g}, only {', '.join(map(str, self.bits))}; "
                "choose candidate_bits among them"
            )

    def usage(
        self, table: CostTable, resource: str, layers: Iterable[str], candidate_bits: Sequence[float]
    ) -> np.ndarray:
        """[L, B]; three levels (1.6 bits) take two bits on a chip."""
        columns = [self.bits.index(math.ceil(bits)) for bits in candidate_bits]
        return np.asarray([[table.layers[name][resource][at] for at in columns] for name in layers], float)

    def constraints(
        self, table: CostTable, budget: Mapping[str, float], layers: Sequence[str],
        candidate_bits: Sequence[float],
    ) -> list[Constraint]:  # fmt: skip
        """The budgets that add up over the layers."""
        return [
            Constraint(
                resource, self.usage(table, resource, layers, candidate_bits), limit,
                fixed=table.fixed[resource], unit=UNITS[resource],
            )
            for resource, limit in budget.items() if resource in UNITS
        ]  # fmt: skip

    def figures(self, table: CostTable, bits: Mapping[str, float]) -> dict[str, float]:
        """Resource -> what a detector of these widths takes at the table's rate."""
        names = list(bits)
        own = {
            resource: [float(self.usage(table, resource, [name], [bits[name]])[0, 0]) for name in names]
            for resource in RESOURCES
        }
        added = {resource: table.fixed[resource] + sum(own[resource]) for resource in UNITS}
        return {**added, "cycles": max(table.fixed["cycles"], *own["cycles"])}


def open_costs(path: str | Path | None, budget: Mapping[str, float]) -> HardwareCosts | None:
    """The costs that a chip's budget needs; None for neither. Raises UserError for one without the other."""
    if bool(budget) != (path is not None):
        raise UserError(
            "a budget of lut, bram, dsp or cycles and a file of costs (hw/costs.py writes it) go together; "
            + ("give costs" if budget else "give a budget such as lut=40000")
        )
    return None if path is None else read_costs(path)


def read_costs(path: str | Path) -> HardwareCosts:
    """The costs in a file of ``hw/costs.py``. Raises UserError for anything else."""
    path = Path(path)
    content = read_json(path, wanted="what `hw/costs.py` wrote")
    if content.get("format_version") != FORMAT_VERSION or "tables" not in content:
        raise UserError(
            f"{path} is no table of costs of format {FORMAT_VERSION}; write it with `hw/costs.py`"
        )
    with understanding(path, remedy="write it again with `hw/costs.py`"):
        bits = tuple(int(width) for width in content["bits"])
        tables = [_table(raw, content["layers"], len(bits)) for raw in content["tables"]]
        if not tables or list(bits) != sorted(set(bits)):
            raise ValueError("no tables, or widths that do not ascend")
        return HardwareCosts(
            str(content["board"]), bits,
            {name: tuple(layer["weight_shape"]) for name, layer in content["layers"].items()},
            tuple(sorted(tables, key=lambda table: table.fps)),
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )  # fmt: skip


def _table(raw: Mapping, layers: Iterable[str], widths: int) -> CostTable:
    fixed = {resource: _figure(raw["fixed"][resource]) for resource in RESOURCES}
    costs = {
        name: {resource: tuple(map(_figure, raw["layers"][name][resource])) for resource in RESOURCES}
        for name in layers
    }
    if any(len(row) != widths for layer in costs.values() for row in layer.values()):
        raise ValueError(f"a layer without {widths} figures")
    return CostTable(_figure(raw["fps"]), fixed, costs)


def _figure(value: float) -> float:
    if isinstance(value, bool) or not 0 <= float(value) < math.inf:
        raise ValueError(f"{value!r} is no cost")
    return float(value)
