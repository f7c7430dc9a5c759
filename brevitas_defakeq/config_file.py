"""Settings from a file, TOML or JSON: any fields of `DefakeQConfig`, or the ``config.json`` of a run."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brevitas_defakeq.config import DefakeQConfig
from brevitas_defakeq.config_values import in_todays_form
from brevitas_defakeq.utils.errors import UserError, one_line


def read_settings(path: Path) -> dict[str, Any]:
    """The fields in a file, not yet checked. A run folder stands for its ``config.json``.

    Raises UserError for a file that is missing, neither TOML nor JSON, or holds no fields.
    """
    values = read_values(path)
    return values["config"] if is_of_run(values) else values


def is_of_run(values: Mapping[str, Any]) -> bool:
    """Whether these are the values of a run's ``config.json``."""
    return "format_version" in values and "config" in values


def read_values(path: Path) -> dict[str, Any]:
    """All that a file holds, otherwise as `read_settings`."""
    path = path / "config.json" if path.is_dir() else path
    try:
        content = path.read_text(encoding="utf-8")
        values = json.loads(content) if path.suffix.lower() == ".json" else tomllib.loads(content)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        kind = "JSON" if path.suffix.lower() == ".json" else "TOML"
        raise UserError(f"{path} is no {kind}: {one_line(error)}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no fields; write it as in average_bits = 3.0")
    return values


def config_from(values: Mapping[str, Any], source: object = None) -> DefakeQConfig:
    """Fields on top of the values of their recipe. Raises UserError that names ``source``, if there is one.

    >>> config_from({"recipe": "paper", "reconstruction": {"iterations": 9}}).reconstruction.block_input
    'quantized'
    """
    values = in_todays_form(values)
    try:
        recipe = values.get("recipe", "best")
        base = DefakeQConfig.for_recipe(recipe).to_dict()
        if values.get("budget"):
            base["average_bits"] = None  # no bound unless it is given
        merged = with_fields(base, values)
        merged["activation_bits"] = merged["activation_bits"] or None  # TOML has no null
        return DefakeQConfig.from_dict(merged)
    except UserError as error:
        raise UserError(f"{source}: {error}" if source else str(error)) from None


def with_fields(base: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """``given`` on top of ``base``, stage by stage."""
    merged = dict(base)
    for key, value in given.items():
        both = isinstance(base.get(key), Mapping) and isinstance(value, Mapping)
        merged[key] = {**base[key], **value} if both else value
    return merged
