"""Strict records from JSON: exactly the known fields, each of its kind."""

import math
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import fields
from numbers import Integral, Real
from typing import Any, TypeVar

from brevitas_defakeq.utils.errors import UserError

Record = TypeVar("Record")


def record(kind: type[Record], values: Any, name: str) -> Record:
    """``kind(**values)``, where the mapping ``values`` has exactly the fields of the dataclass ``kind``.

    Raises UserError, naming the field ``name``, for anything that is missing, unknown or no mapping.
    """
    require(isinstance(values, Mapping), name, values, "a JSON object")
    known = [field.name for field in fields(kind)]
    missing = [field for field in known if field not in values]
    unknown = sorted(str(field) for field in values if field not in known)
    if missing or unknown:
        parts = {"missing": missing, "unknown": unknown}
        problem = "; ".join(f"{what}: {', '.join(names)}" for what, names in parts.items() if names)
        raise UserError(f"{name} has wrong fields ({problem}); it holds exactly {', '.join(known)}")
    return kind(**values)


def require(holds: bool, name: str, value: Any, allowed: str) -> None:
    """Raise UserError, saying what ``name`` must be, unless ``holds``."""
    if not holds:
        raise UserError(f"{name}={reprlib.repr(value)} must be {allowed}")


def require_each(fits: Callable[[Any], bool], name: str, values: Any, allowed: str) -> None:
    """Raise UserError unless ``values`` is a dictionary whose every value ``fits``."""
    require(isinstance(values, dict), name, values, "a JSON object")
    for key, value in values.items():
        require(fits(value), f"{name}[{key!r}]", value, allowed)


def is_number(value: Any) -> bool:
    """A finite number; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def is_count(value: Any) -> bool:
    """A whole number from 0 on; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool) and value >= 0


def is_text(value: Any) -> bool:
    """A string that says something."""
    return isinstance(value, str) and bool(value.strip())


def plain(value: Any) -> Any:
    """The JSON form: tuples as lists, mappings as dictionaries, at any depth."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
