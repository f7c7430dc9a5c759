"""Reading and checking the file of costs that ``hw/costs.py`` writes."""

import hashlib
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from brevitas_defakeq.haq.hardware_costs import RESOURCES, CostTable, HardwareCosts
from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import read_json, understanding

COSTS_FORMAT_VERSION = 1


def open_costs(path: str | Path | None, budget: Mapping[str, float]) -> HardwareCosts | None:
    """The costs for a chip's budget; None without both. Raises UserError if only one of them is given."""
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
    if content.get("format_version") != COSTS_FORMAT_VERSION or "tables" not in content:
        raise UserError(
            f"{path} is no table of costs of format {COSTS_FORMAT_VERSION}; write it with `hw/costs.py`"
        )
    with understanding(path, remedy="write it again with `hw/costs.py`"):
        bits = tuple(int(width) for width in content["bits"])
        tables = [_table(raw, content["layers"], len(bits)) for raw in content["tables"]]
        if not tables or list(bits) != sorted(set(bits)):
            raise ValueError("no tables, or widths that do not ascend")
        return HardwareCosts(
            board=str(content["board"]),
            bits=bits,
            shapes={name: tuple(layer["weight_shape"]) for name, layer in content["layers"].items()},
            tables=tuple(sorted(tables, key=lambda table: table.fps)),
            digest=hashlib.sha256(path.read_bytes()).hexdigest(),
        )


def _table(raw: Mapping, layers: Iterable[str], widths: int) -> CostTable:
    fixed = {resource: _cost(raw["fixed"][resource]) for resource in RESOURCES}
    costs = {
        name: {resource: tuple(map(_cost, raw["layers"][name][resource])) for resource in RESOURCES}
        for name in layers
    }
    if any(len(row) != widths for layer in costs.values() for row in layer.values()):
        raise ValueError(f"a layer without {widths} costs")
    return CostTable(_cost(raw["fps"]), fixed, costs)


def _cost(value: float) -> float:
    if isinstance(value, bool) or not 0 <= float(value) < math.inf:
        raise ValueError(f"{value!r} is no cost")
    return float(value)
