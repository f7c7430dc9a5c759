"""The code blocks of README, CONTRIBUTING and docs/: commands exist, Python runs. CONTRIBUTING says how."""

import importlib
import re
import shlex
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import typer
from torch import nn

from brevitas_defakeq.cli import app
from brevitas_defakeq.config_file import config_from
from brevitas_defakeq.detectors.registry import REGISTRY
from brevitas_defakeq.evaluation.conventions import DEFAULT_METRICS
from brevitas_defakeq.evaluation.perturb.perturbations import PERTURBATIONS
from brevitas_defakeq.export.formats import _FORMATS
from brevitas_defakeq.nn.layer_kinds import _KINDS
from brevitas_defakeq.quant.widths import WIDTHS

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(f"docs/{file.name}" for file in ROOT.glob("docs/*.md"))
FILES = ["README.md", "CONTRIBUTING.md", "hw/README.md", *PAGES]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


@dataclass(frozen=True)
class Block:
    """A fenced block: its file, the line its text starts on, what follows the fence, and the text."""

    file: str
    line: int
    info: str
    text: str


def blocks(file: str) -> list[Block]:
    """The fenced blocks of a Markdown file."""
    text = (ROOT / file).read_text()
    found = re.finditer(r"^```([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(file, text[: each.start(2)].count("\n") + 1, each[1].strip(), each[2]) for each in found]


def commands(file: str) -> list[list[str]]:
    """The commands of the plain blocks, each a list of words, without comments."""
    lines = []
    for block in blocks(file):
        if not block.info:
            for line in block.text.replace("\\\n", " ").splitlines():
                lines += line.split(" #")[0].split("&&")
    return [words for words in map(shlex.split, lines) if words]


def check_defakeq(arguments: list[str]) -> None:
    """Parses a command as the command line does, and does not run it; ``...`` stands for required options."""
    command, words = typer.main.get_command(app), [word for word in arguments if word != "..."]
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    assert not hasattr(command, "commands") or not words or words[0].startswith("-"), f"no such: {words[0]}"
    try:
        command.make_context("defakeq", words)
    except Exception as error:
        if "..." not in arguments or type(error).__name__ != "MissingParameter":
            raise


def check_script(arguments: list[str]) -> None:
    """A script exists and knows the options."""
    if arguments[0] == "-m":
        return
    text = (ROOT / arguments[0]).read_text() + (ROOT / "hw/command_line.py").read_text()
    for option in arguments[1:]:
        assert not option.startswith("--") or f'"{option}"' in text, option


def check_install(arguments: list[str]) -> None:
    """The extras exist."""
    for extras in re.findall(r"\[(.*?)\]", " ".join(arguments)):
        assert set(extras.split(",")) <= set(EXTRAS)


def check_pytest(arguments: list[str]) -> None:
    """The paths exist."""
    for path in arguments:
        assert not path.startswith("tests") or (ROOT / path).exists(), path


CHECKS = {"defakeq": check_defakeq, "python": check_script, "pip": check_install, "pytest": check_pytest}


@pytest.mark.parametrize("file", FILES)
def test_commands(file):
    for name, *arguments in commands(file):
        if name in CHECKS:
            CHECKS[name](arguments)
        else:
            assert name == "." or (ROOT / name).exists(), f"{file}: {name} is no command that is checked"


@pytest.mark.parametrize("arguments", [["export", "run/", "--no-such"], ["quantise", "demo"], ["evaluate"]])
def test_a_wrong_command_is_found(arguments):
    with pytest.raises(Exception, match="(?i)no such|missing|unexpected"):
        check_defakeq(arguments)


@pytest.fixture
def restored(monkeypatch):
    """`hw` can be imported; the registries are put back after the blocks have added to them."""
    monkeypatch.syspath_prepend(ROOT)
    boards = importlib.import_module("hw.boards").BOARDS
    tables = [REGISTRY._entries, DEFAULT_METRICS, PERTURBATIONS, _KINDS, WIDTHS, _FORMATS, boards]
    before = [dict(table) for table in tables]
    yield
    for table, content in zip(tables, before, strict=True):
        table.clear()
        table.update(content)


@pytest.mark.parametrize("file", [file for file in FILES if any(b.info == "python" for b in blocks(file))])
def test_python_blocks_run(file, tmp_path, monkeypatch, restored):
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 1)
    names = {"detector": nn.Sequential(*layers).eval(), "images": torch.randn(32, 3, 16, 16)}
    monkeypatch.chdir(tmp_path)
    for block in blocks(file):
        if block.info == "python":
            code = "\n" * (block.line - 1) + block.text  # so that a traceback shows the file's own line
            exec(compile(code, str(ROOT / file), "exec"), names)


def test_settings_are_settings():
    """The `toml` blocks of the recipes are read as `--config` reads a file."""
    found = [tomllib.loads(block.text) for block in blocks("docs/recipes.md") if block.info == "toml"]
    configs = [config_from(values) for values in found]
    assert configs and configs[0].keep_float == ("srm", "stem.*") and configs[0].final.steps == 200


def test_worked_examples_are_short():
    examples = [block for block in blocks("CONTRIBUTING.md") if block.info == "python"]
    assert examples and all(block.text.count("\n") < 40 for block in examples)


def test_links_lead_somewhere():
    for file in FILES:
        text = (ROOT / file).read_text()
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text):
            assert ((ROOT / file).parent / target).exists(), f"{file}: {target}"
