"""Detectors built by the user's own code: `module:factory`."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.utils.errors import UserError, one_line

if TYPE_CHECKING:
    from torch import nn


def call_factory(name: str, model_args: Mapping[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
    """The model that `module:factory` builds, and the pre-processing fields it returns with it (or none).

    The module is imported from the working folder or the Python path. Raises UserError, with the reason, if
    it cannot be imported, has no such factory, fails, or returns no model.
    """
    with _working_folder_importable():
        factory = _find(name)
        try:
            made = factory(**model_args)
        except UserError:
            raise
        except Exception as error:  # the user's code may raise anything
            given = ", ".join(f"{key}={value!r}" for key, value in model_args.items())
            raise UserError(f"{name}({given}) failed: {_reason(error)}") from error
    return _checked(name, made)


def preprocessing_from_factory(values: Mapping[str, Any], options: Mapping[str, Any]) -> Preprocessing:
    """The factory's fields, overridden by the user's options; UserError if neither has size, mean or std."""
    given = {**values, **{key: value for key, value in options.items() if value is not None}}
    missing = [key for key in ("input_size", "mean", "std") if key not in given]
    if missing:
        flags = " ".join(f"--{key.replace('_', '-')}" for key in missing)
        raise UserError(
            f"the detector's pre-processing is not known: {', '.join(missing)} missing; give {flags}, "
            "or let the factory return (model, {'input_size': ..., 'mean': ..., 'std': ...})"
        )
    return Preprocessing.from_dict(given)


def _find(name: str) -> Callable[..., Any]:
    """The factory itself."""
    module_name, _, attribute = name.partition(":")
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # the user's code may raise anything
        raise UserError(f"{name}: importing {module_name!r} failed: {_reason(error)}") from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise UserError(
            f"{name}: {module_name} has no factory {attribute!r}; it has {', '.join(public) or 'none'}"
        )
    return factory


def _checked(name: str, made: Any) -> tuple[nn.Module, dict[str, Any]]:
    """(model, fields) from the factory's return value."""
    from torch import nn

    from brevitas_defakeq.detectors.plain_module import plain_module

    model, values = made if isinstance(made, tuple) and len(made) == 2 else (made, {})
    if isinstance(values, Preprocessing):
        values = values.to_dict()
    if not isinstance(model, nn.Module) or not isinstance(values, Mapping):
        raise UserError(
            f"{name} gave {type(made).__name__}; expected is an nn.Module, "
            "or one and a dict of pre-processing fields"
        )
    return plain_module(model), dict(values)


@contextlib.contextmanager
def _working_folder_importable() -> Iterator[None]:
    """Puts the working folder at the front of the import path within the context."""
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _reason(error: Exception) -> str:
    """The kind of the error and its message."""
    return f"{type(error).__name__}: {one_line(error)}"
