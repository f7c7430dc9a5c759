"""The configuration of a command: its options on top of the file of ``--config``, or of the defaults."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from brevitas_defakeq.cli_given import given
from brevitas_defakeq.cli_values import budgets, numbers, with_iterations
from brevitas_defakeq.utils.errors import UserError

if TYPE_CHECKING:
    from brevitas_defakeq.config import DefakeQConfig
    from brevitas_defakeq.detectors.resolve import Detector

_LOG = logging.getLogger(__name__)


def _itself(value: Any) -> Any:
    return value


#: Option that sets a field of `DefakeQConfig` -> its typed value as the field takes it.
_FIELDS: dict[str, Callable[[Any], Any]] = {
    "average_bits": _itself,
    "budget": budgets,
    "candidate_bits": lambda text: numbers(text, "--candidate-bits"),
    "activation_bits": _itself,
    "target": _itself,
    "samples": _itself,
    "seed": _itself,
    "keep_float": tuple,
}  # fmt: skip


def config_of(context: typer.Context) -> "DefakeQConfig":
    """The settings that the typed options and the file of ``--config`` give.

    Raises UserError for wrong values, and for a recipe that contradicts the file's.
    """
    from brevitas_defakeq.config_file import config_from, read_settings, with_fields

    typed = given(context)
    file: Path | None = typed.get("config")
    settings = {} if file is None else read_settings(file)
    recipe = typed.get("recipe", settings.get("recipe", "best"))
    if "recipe" in settings and recipe != settings["recipe"]:
        raise UserError(
            f"{file} holds recipe {settings['recipe']!r}, --recipe says {recipe}; leave one of them out"
        )
    options = {name: value_of(typed[name]) for name, value_of in _FIELDS.items() if name in typed}
    if "sensitivity" in typed:
        options["haq"] = {"sensitivity": typed["sensitivity"]}
    values = with_fields({**settings, "recipe": recipe}, options)
    return with_iterations(config_from(values, file), typed.get("iterations"))


def say_other_run(file: Path | None, detector: "Detector") -> None:
    """A warning where the file of ``--config`` comes from a run of another detector, or of other images.

    Its settings are taken; the detector and its preprocessing are the command's own.
    """
    from brevitas_defakeq.config_file import is_of_run, read_values

    saved = {} if file is None else read_values(file)
    if not is_of_run(saved):
        return
    preprocessing = detector.preprocessing.to_dict() if detector.preprocessing else None
    present = {"detector": detector.spec, "preprocessing": preprocessing, "output": detector.output.to_dict()}
    for name, value in present.items():
        if name in saved and saved[name] != json.loads(json.dumps(value)):
            _LOG.warning(
                "%s is of a run with another %s, which --config does not take over: %s there, %s here",
                file, name, json.dumps(saved[name]), json.dumps(value),
            )  # fmt: skip
