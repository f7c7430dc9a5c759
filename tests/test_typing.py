"""Type checkers know the public API: correct use passes, mistakes are reported line by line."""

import ast
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import brevitas_defakeq

ROOT = Path(brevitas_defakeq.__file__).parent.parent
DATA_FILES = Path(__file__).parent / "data_files"


def mypy(folder: Path, *files: Path) -> list[tuple[str, int, str]]:
    """File, line and code of each error that mypy reports in these files, as for a user's own project.

    torch and NumPy are not read: nearly all of mypy's time, and no signature here follows from theirs.
    """
    pytest.importorskip("mypy")
    config = folder / "mypy.ini"
    config.write_text("[mypy-torch.*,numpy.*]\nfollow_imports = skip\n")
    program = [
        sys.executable,
        "-m",
        "mypy",
        "--follow-imports=silent",
        "--show-error-codes",
        f"--config-file={config}",
    ]
    done = subprocess.run(
        [*program, "--cache-dir", str(folder / "cache"), *map(str, files)], cwd=folder, capture_output=True,
        text=True, timeout=240, env={**os.environ, "MYPYPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = re.findall(r"(\w+\.py):(\d+): error: .*\[([\w-]+)\]$", done.stdout, re.MULTILINE)
    assert len(found) == done.stdout.count(" error: "), done.stdout
    return [(name, int(line), code) for name, line, code in found]


def test_mistakes_are_reported_and_correct_use_is_not(tmp_path):
    correct, wrong = DATA_FILES / "typed_use.py", DATA_FILES / "typed_mistakes.py"
    marked = [re.search(r"# mistake: ([\w-]+)$", line) for line in wrong.read_text().splitlines()]
    expected = [(wrong.name, number, mark[1]) for number, mark in enumerate(marked, start=1) if mark]
    assert len(expected) >= 3
    assert sorted(mypy(tmp_path, correct, wrong)) == expected


def test_type_checkers_and_python_find_the_same_names():
    """The imports for type checkers, the table of lazy imports and ``__all__`` list the same things."""
    tree = ast.parse(Path(brevitas_defakeq.__file__).read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    typed = {
        alias.asname: node.module
        for node in imports
        for alias in node.names
        if node.module.startswith("brev")
    }
    assert {*typed, "__version__"} == set(brevitas_defakeq.__all__) == set(dir(brevitas_defakeq))
    for name, module in typed.items():
        assert getattr(brevitas_defakeq, name) is getattr(importlib.import_module(module), name)
    assert not hasattr(brevitas_defakeq, "quantise")
