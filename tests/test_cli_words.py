"""Messages name options on the command line, and arguments in Python."""

import ast
import re
from pathlib import Path

import pytest
import typer

import brevitas_defakeq
from brevitas_defakeq import cli
from brevitas_defakeq.cli_given import option_names
from brevitas_defakeq.cli_words import in_option_words
from brevitas_defakeq.utils.errors import UserError

PACKAGE = Path(brevitas_defakeq.__file__).parent
#: Arguments that messages name and that no command has as an option: fields of a configuration file, ...
FIELDS = {
    "error_base", "fraction", "temperature", "batch_size", "warm_up", "steps", "held_out", "joint", "masks",
    "mixed_channel_bits", "negatives", "alignment", "block_input", "loss", "matching", "activation_quantizer",
    "equalize_layernorm", "activations_first",
    "rounding", "activation_drop", "unit", "rate", "bytes",
}  # fmt: skip
#: ... arguments of functions that only Python calls, and ...
PYTHON = {
    "runs", "warmup", "size", "families", "score", "side", "choose", "missing", "workers", "batch_size",
    "fit", "preprocessing", "detector", "float_model", "variants",
}  # fmt: skip
#: ... what belongs to the user's own network and files.
OTHERS = {
    "num_classes", "padding_mode", "pad_type", "global_pool", "ceil_mode", "count_include_pad", "cycles",
    "lut", "bram", "KEY", "NAME", "method", "form", "persistent",
}  # fmt: skip


def options() -> dict[str, str]:
    """Parameter -> option, of all commands together."""
    group = typer.main.get_command(cli.app)
    commands = [*group.commands.values(), *group.commands["datasets"].commands.values()]
    return {name: option for command in commands for name, option in option_names(command).items()}


def text_of(node: ast.expr) -> str:
    """A string as the user sees it, with 'X' for every value; texts that are put together are joined."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(
            "'X'" if isinstance(part, ast.FormattedValue) else str(part.value) for part in node.values
        )
    if isinstance(node, ast.BinOp):
        return text_of(node.left) + text_of(node.right)
    return ""


def messages() -> list[tuple[str, str]]:
    """(place, text) of all errors that the package raises for its users."""
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            name = getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""
            if name in ("UserError", "_require", "_warn_or_refuse"):
                found += [(f"{file.name}:{node.lineno}", text_of(argument)) for argument in node.args]
            elif name == "_choose":
                found.append((f"{file.name}:{node.lineno}", f"{text_of(node.args[0])}='X': choose one of"))
    return found


def test_no_message_keeps_an_argument_that_is_an_option():
    """What is left is known to be no option; a new message has to be one or the other."""
    known, seen, wrong = options(), set(), []
    for place, text in messages():
        for name in re.findall(r"(?<![\w./-])(\w+)=", in_option_words(text, known)):
            seen.add(name)
            if name not in FIELDS | PYTHON | OTHERS and "ExportedDetector" not in text:
                wrong.append(f"{place}: {name} in {text!r}")
    assert not wrong, "\n".join(wrong)
    assert len(messages()) > 200 and {"held_out", "fraction"} <= seen


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("leave such images out with on_corrupt=skip", "leave such images out with --on-corrupt skip"),
        ("candidate_bits=(2, 3, 9): 9 is wrong", "--candidate-bits 2,3,9: 9 is wrong"),
        ('activation_bits=None: target="fpga" takes 2', "--activation-bits 0: --target fpga takes 2"),
        ("crop='round' is not known", "--crop round is not known"),
        ("it has c23, which compression= chooses", "it has c23, which --compression chooses"),
        ("train.json is missing, or take split=all", "train.json is missing, or take --split all"),
        ("variant='best': choose of quantized", "--which best: choose of quantized"),
        ("looks for the smallest average_bits; go on", "looks for the smallest --average-bits; go on"),
        ("--budget 'lut': give lut=40000,bram=100", "--budget 'lut': give lut=40000,bram=100"),
        ("/data/seed=3/a.png is damaged", "/data/seed=3/a.png is damaged"),
        ("--model-arg num_classes=3", "--model-arg num_classes=3"),
        ("run/average_bits/a.png is damaged", "run/average_bits/a.png is damaged"),
    ],
)
def test_words(message, words):
    assert in_option_words(message, options()) == words


def test_a_command_names_only_options_that_it_has():
    assert in_option_words("take split=all or samples=8", {"samples": "--samples"}) == (
        "take split=all or --samples 8"
    )
    assert in_option_words("take split=all", {}) == "take split=all"


def test_the_command_line_says_it_and_python_does_not(finished):
    """The same error, from the command and from the package."""
    from brevitas_defakeq.data.selection import Selection

    with pytest.raises(UserError, match="root=nowhere is no folder"):
        Selection(root="nowhere")
    outcome = finished("evaluate", "run", "--data", "faces", "--root", "nowhere")
    assert outcome.one_line().startswith("--root nowhere is no folder")
