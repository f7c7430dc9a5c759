"""Strict dataclasses from JSON: exactly the known fields, with checked values."""

import math
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from numbers import Integral, Real
from typing import Any, ClassVar, Protocol, TypeVar

from brevitas_defakeq.utils.errors import UserError


class DataclassLike(Protocol):
    """An instance of any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


Instance = TypeVar("Instance", bound=DataclassLike)


def record(kind: type[Instance], values: Any, name: str) -> Instance:
    """``kind(**values)``, where the mapping ``values`` has exactly the fields of the dataclass ``kind``.

    Raises UserError, naming the field ``name``, for missing and unknown fields and for what is no mapping.
    """
    require(isinstance(values, Mapping), name, values, "a JSON object")
    known = [field.name for field in fields(kind)]
    missing = [field for field in known if field not in values]
    unknown = sorted(str(field) for field in values if field not in known)
    if missing or unknown:
        groups = {"missing": missing, "unknown": unknown}
        problem = "; ".join(f"{what}: {', '.join(names)}" for what, names in groups.items() if names)
        raise UserError(f"{name} has wrong fields ({problem}); it holds exactly {', '.join(known)}")
    return kind(**values)


def require(holds: bool, name: str, value: Any, allowed: str) -> None:
    """Raise UserError that ``name`` must be ``allowed``, unless ``holds``."""
    if not holds:
        raise UserError(f"{name}={reprlib.repr(value)} must be {allowed}")


def require_each(fits: Callable[[Any], bool], name: str, values: Any, allowed: str) -> None:
    """Raise UserError unless ``values`` is a dictionary whose every value ``fits``."""
    require(isinstance(values, dict), name, values, "a JSON object")
    for key, value in values.items():
        require(fits(value), f"{name}[{key!r}]", value, allowed)


def is_number(value: Any) -> bool:
    """Whether a value is a finite number; True and False are not."""
    return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)


def is_count(value: Any) -> bool:
    """Whether a value is an integer from 0 on; True and False are not."""
    return not isinstance(value, bool) and isinstance(value, Integral) and int(value) >= 0


def is_text(value: Any) -> bool:
    """Whether a value is a string that is not blank."""
    return isinstance(value, str) and bool(value.strip())


def plain(value: Any) -> Any:
    """The JSON form: tuples as lists and mappings as dictionaries, at any depth."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
