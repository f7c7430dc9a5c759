"""Options: their choices and defaults are the package's, and each has a group and a help text."""

import inspect
import re
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
import typer

from brevitas_defakeq import api, cli, cli_options
from brevitas_defakeq.cli_values import byte_count, numbers
from brevitas_defakeq.config import DefakeQConfig, Sensitivity
from brevitas_defakeq.data import open_source, selection
from brevitas_defakeq.detectors import output
from brevitas_defakeq.imaging import crop, preprocessing


def choices(annotation: Any) -> set[str]:
    """The values of the Literal in ``Literal[...]``, ``Literal[...] | None`` or an Annotated of these."""
    if get_origin(annotation) is Literal:
        return set(get_args(annotation))
    if get_origin(annotation) is Annotated:
        return choices(get_args(annotation)[0])
    return set().union(*map(choices, get_args(annotation)))


@pytest.mark.parametrize(
    ("option", "allowed"),
    [
        ("Recipe", choices(DefakeQConfig.__annotations__["recipe"])),
        ("SensitivityOption", choices(Sensitivity)),
        ("TargetOption", choices(DefakeQConfig.__annotations__["target"])),
        ("Interpolation", set(preprocessing.INTERPOLATIONS)),
        ("OutputKind", set(output.SPEC_KINDS)),
        ("CropKind", set(crop.CROP_KINDS)),
        ("FacesOption", set(open_source.FACE_MODES)),
        ("Split", {*selection.SPLITS, "all"}),
        ("Compression", set(selection.COMPRESSIONS)),
    ],
)
def test_the_choices_are_the_packages(option, allowed):
    assert choices(getattr(cli_options, option)) == allowed != set()


def test_the_defaults_are_the_packages():
    assert numbers(cli_options.CANDIDATE_BITS, "") == DefakeQConfig().candidate_bits
    default = inspect.signature(api.quantize).parameters["cache_memory"].default
    assert byte_count(cli_options.CACHE_MEMORY) == default


def commands() -> dict[str, Any]:
    """Every command by name."""
    group: Any = typer.main.get_command(cli.app)
    nested = group.commands["datasets"].commands
    return {**group.commands, **{f"datasets {name}": command for name, command in nested.items()}}


@pytest.mark.parametrize("name", commands())
def test_every_option_has_a_help_text_and_a_group(name):
    """Help texts are sentences, and none begins with a preposition."""
    command = commands()[name]
    for parameter in command.params:
        assert re.fullmatch(r"[A-Z0-9][^\[\]]+\.", parameter.help), f"{parameter.name}: {parameter.help}"
        assert parameter.help.split()[0] not in ("Of", "For", "In", "As"), parameter.help
        if parameter.param_type_name == "option":
            assert parameter.rich_help_panel, parameter.name
    assert len(command.get_short_help_str(limit=66)) < 66 and command.help.split("\n")[0].endswith(".")
