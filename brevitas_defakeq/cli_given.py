"""Which options a command was given, and saying so where one of them would do nothing."""

import logging
from collections.abc import Iterable
from typing import Any

import typer

from brevitas_defakeq.utils.errors import UserError

_LOG = logging.getLogger(__name__)


def given(context: typer.Context) -> dict[str, Any]:
    """The parameters that were typed, by name, with their values."""
    names = (name for name in context.params if context.get_parameter_source(name).name == "COMMANDLINE")  # type: ignore[union-attr]
    return {name: context.params[name] for name in names}


def option_names(command: Any) -> dict[str, str]:
    """Parameter -> its option, of a command. Any: typer's own copy of click is private."""
    options = (parameter for parameter in command.params if parameter.param_type_name == "option")
    return {parameter.name: parameter.opts[0] for parameter in options}


def refuse_unused(context: typer.Context, names: Iterable[str], reason: str) -> None:
    """Raises UserError for the first of the parameters that was given, with why it does nothing."""
    for name in _typed(context, names):
        raise UserError(f"{name} {reason}")


def say_unused(context: typer.Context, names: Iterable[str], reason: str) -> None:
    """A warning for each of the parameters that was given: the reason lies in the data."""
    for name in _typed(context, names):
        _LOG.warning("%s is not used: %s", name, reason)


def _typed(context: typer.Context, names: Iterable[str]) -> list[str]:
    options, typed = option_names(context.command), given(context)
    return [
        options[name].replace("--", "--no-" if typed[name] is False else "--")
        for name in names
        if name in typed
    ]
