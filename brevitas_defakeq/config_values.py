"""A configuration given as plain values: names and kinds of its fields, checked before it is made."""

import difflib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from brevitas_defakeq.utils.errors import UserError

_WORDS: dict[Any, str] = {
    bool: "true or false", int: "a whole number", float: "a number", str: "a text", NoneType: "null"
}  # fmt: skip


def in_todays_form(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a whole configuration with those of earlier versions as they are written today.

    >>> in_todays_form({"reconstruction": {"matching": False}})  # it was true or false
    {'reconstruction': {'matching': 'none'}}
    >>> in_todays_form({"reconstruction": {"learned_rounding": True}})
    {'reconstruction': {'rounding': 'learned'}}
    """
    stage = values.get("reconstruction")
    if not isinstance(stage, Mapping):
        return dict(values)
    stage = dict(stage)
    if isinstance(stage.get("matching"), bool):
        stage["matching"] = "moments" if stage["matching"] else "none"
    if isinstance(stage.get("learned_rounding"), bool):
        stage = {"rounding": "learned" if stage.pop("learned_rounding") else "nearest", **stage}
    return {**values, "reconstruction": stage}


def check_values(cls: type, values: Mapping[str, Any], whole: type) -> None:
    """Raises UserError that names the first field which there is not, or whose value is of another kind.

    Args:
        cls: the dataclass that the values are for.
        values: field -> value, as JSON or TOML gives it.
        whole: the dataclass that holds all others, where a misplaced field is looked for.
    """
    hints = get_type_hints(cls)
    for name, value in values.items():
        if name not in hints:
            raise UserError(
                f"configuration: unknown field {name} in {cls.__name__}{_hint(str(name), cls, whole)}"
            )
        if not _fits(value, hints[name]):
            raise UserError(
                f"configuration: {name} in {cls.__name__} is {value!r}; give {_in_words(hints[name])}"
            )


def _fits(value: object, hint: Any) -> bool:
    """Whether a value read from JSON or TOML is of the annotated kind; a list serves as a tuple."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in inner)
    if origin is Literal:
        return isinstance(value, str)  # the class names the choices
    if origin is tuple:
        count = len(value) if isinstance(value, list | tuple) else -1
        kinds = inner[:1] * count if inner[-1] is Ellipsis else inner
        return count == len(kinds) and all(map(_fits, value, kinds))  # type: ignore[call-overload]
    if origin is dict:
        return isinstance(value, Mapping) and all(_fits(item, inner[1]) for item in value.values())
    if is_dataclass(hint):
        return isinstance(value, Mapping | hint)  # type: ignore[operator]
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, int | float if hint is float else hint)


def _in_words(hint: Any) -> str:
    """As in "a number or null" and "a list of numbers"."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(map(_in_words, inner))
    if origin is Literal:
        return " or ".join(map(str, inner))
    if origin in (tuple, dict):
        element = _in_words(inner[-2 if origin is tuple else 1]).removeprefix("a ") + "s"
        return f"a list of {element}" if origin is tuple else f"a table of {element}"
    return _WORDS.get(hint, "a table of its own")


def _hint(name: str, cls: type, whole: type) -> str:
    """The nearest fields: of the same class, then of any."""
    stages = {stage: hint for stage, hint in get_type_hints(whole).items() if is_dataclass(hint)}
    own = [item.name for item in fields(cls)]
    elsewhere = [item.name for item in fields(whole) if cls is not whole and item.name not in stages]
    elsewhere += [f"{stage}.{item.name}" for stage, hint in stages.items() for item in fields(hint)]
    plain = {dotted.rsplit(".", 1)[-1]: dotted for dotted in reversed(elsewhere)}
    near = difflib.get_close_matches(name, own, n=1, cutoff=0.7)
    near = near or [plain[found] for found in difflib.get_close_matches(name, plain, n=1, cutoff=0.7)]
    return f"; did you mean {near[0]}?" if near else ""
