"""What the tests of `hw/` share: its folder on the path, and a way to run `hw/build.py` as a user does."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
for folder in (str(ROOT), str(Path(__file__).parent)):
    if folder not in sys.path:
        sys.path.insert(0, folder)


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    status: int
    output: str
    errors: str

    def one_line(self) -> str:
        """The last line on standard error; those before it name steps."""
        lines = self.errors.strip().splitlines()
        assert all(line.startswith("[") for line in lines[:-1]), self.errors
        assert lines[-1].startswith("hw/build.py: ")
        return lines[-1].removeprefix("hw/build.py: ")


@pytest.fixture
def build(tmp_path):
    """``build(MODEL, "--board", ...)``: the command in a process of its own, in an empty working folder."""

    def run(*arguments, environment=None) -> Outcome:
        command = [sys.executable, str(ROOT / "hw" / "build.py"), *map(str, arguments)]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}, check=False,
        )  # fmt: skip
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run
