"""1.8 million frames are listed, thinned and sampled in little memory and time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[1] / "data_files" / "large_index.py"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="the videos' folders are links")
def test_a_large_index(tmp_path, pace):
    def program(action):
        command = [sys.executable, str(PROGRAM), action, str(tmp_path)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout

    program("write")
    found = json.loads(program("list"))
    assert (found["rows"], found["thinned"], found["fakes"]) == (1_800_000, 450_000, 1_440_000)
    methods = ("FF-DF", "FF-F2F", "FF-FS", "FF-NT")
    assert found["kinds"] == {"": 128, **dict.fromkeys(methods, 32)} and found["videos"] == 256
    assert found["peak_bytes"] < 1e9, found
    assert sum(found["seconds"].values()) < 5000 * pace, found
