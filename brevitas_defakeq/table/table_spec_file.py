"""A table's description from a TOML file.

    calibration = "faces/train.csv"
    [settings]                # of every run: fields of DefakeQConfig
    seed = 0
    [selection]               # where they are benchmarks: root, compression, frames, first
    root = "/data"
    [datasets]                # name -> labelled data
    DFD = "dfd/test.csv"
    [[detectors]]
    name = "ucf"              # as `defakeq quantize` takes it
    weights = "ucf_best.pth"
    [[methods]]
    method = "round_to_nearest"
    bits = 4
    [[methods]]
    method = "defakeq"
    bits = 3

Paths are relative to the file's folder.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from brevitas_defakeq.detectors.side_files import names_architecture
from brevitas_defakeq.table.table_spec import DetectorRow, Method, TableSpec
from brevitas_defakeq.utils.errors import UserError

SpecRow = TypeVar("SpecRow", DetectorRow, Method)
#: How a field's annotation begins -> what TOML has to hold, and its name.
_TOML_TYPES: dict[str, tuple[type | tuple[type, ...], str]] = {
    "str": (str, "text"),
    "float": ((int, float), "a number"),
    "Mapping": (dict, "a table"),
    "tuple": (list, "a list of tables"),
}


def read_spec(path: str | Path) -> TableSpec:
    """The table that a TOML file describes. UserError, in a line, for whatever is wrong with it."""
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}; give a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not TOML: {error}") from None
    try:
        return _spec(content, path.parent)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _spec(content: Mapping[str, Any], folder: Path) -> TableSpec:
    _check(TableSpec, content, "the table")
    values = dict(content)
    rows = tuple(_record(DetectorRow, row, "[[detectors]]") for row in values["detectors"])
    values["detectors"] = tuple(_located(row, folder) for row in rows)
    values["methods"] = tuple(_record(Method, row, "[[methods]]") for row in values["methods"])
    values["datasets"] = {
        name: _below(_text(data, f"data set {name}"), folder) for name, data in values["datasets"].items()
    }
    values["calibration"] = _below(values["calibration"], folder)
    return TableSpec(**values)


def _located(row: DetectorRow, folder: Path) -> DetectorRow:
    """The row with the paths of its weights and, where it is one, of the detector's folder."""
    name = str(folder / row.name) if names_architecture(folder / row.name) else row.name
    return replace(row, name=name, weights=row.weights and _below(row.weights, folder))


def _record(kind: type[SpecRow], values: Any, where: str) -> SpecRow:
    if not isinstance(values, dict):
        raise UserError(f"{where}: {values!r} is no table")
    _check(kind, values, where)
    return kind(**values)


def _check(kind: type, values: Mapping[str, Any], where: str) -> None:
    """Exactly the fields of a dataclass, those with a default at will, each of its kind."""
    known = {item.name: item for item in fields(kind)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise UserError(f"{where} has no {unknown[0]!r}; it may hold {', '.join(known)}")
    for name, item in known.items():
        if name not in values:
            if item.default is MISSING and item.default_factory is MISSING:
                raise UserError(f"{where} lacks {name!r}")
            continue
        allowed, word = next(found for begin, found in _TOML_TYPES.items() if item.type.startswith(begin))
        if not isinstance(values[name], allowed) or isinstance(values[name], bool):
            raise UserError(f"{where}: {name} = {values[name]!r} is not {word}")


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise UserError(f"{where}: {value!r} is not text")
    return value


def _below(value: str, folder: Path) -> str:
    """A path below the file's folder, where there is one."""
    return str(folder / value) if (folder / value).exists() else value
