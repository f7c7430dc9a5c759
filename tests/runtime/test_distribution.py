"""The runtime distribution: built, installed into an empty environment, used there."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from PIL import Image

from brevitas_defakeq import __version__
from brevitas_defakeq.runtime import predict

SOURCES = Path(__file__).resolve().parents[2] / "packaging" / "runtime"

PROGRAM = """
import importlib.util, json, sys
from importlib.metadata import version
import brevitas_defakeq
from brevitas_defakeq.runtime import latency, predict
verdict, = predict(sys.argv[1], sys.argv[2])
print(json.dumps({
    "logit": verdict.logit,
    "version": version("defakeq-runtime"),
    "torch": importlib.util.find_spec("torch") is not None,
    "memory": latency(sys.argv[1], runs=1, warmup=0)["files"][0]["peak_memory_bytes"],
    "file": brevitas_defakeq.__file__,
}))
"""


def run(*arguments, **options) -> str:
    """Standard output; the search path must not lead back to the sources."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(argument) for argument in arguments]
    outcome = subprocess.run(command, capture_output=True, text=True, env=environment, **options)
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout


@pytest.mark.slow
def test_predicts_where_torch_is_not_installed(exported, noise, tmp_path):
    before = sorted(SOURCES.iterdir())
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", tmp_path / "wheel", SOURCES)
    assert sorted(SOURCES.iterdir()) == before, "building leaves nothing in the tree"
    (wheel,) = (tmp_path / "wheel").iterdir()
    venv.create(tmp_path / "device", with_pip=True)
    python = tmp_path / "device" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    run(python, "-m", "pip", "install", wheel)
    model = exported()
    Image.fromarray(noise()).save(tmp_path / "face.png")
    answer = json.loads(run(python, "-c", PROGRAM, model, tmp_path / "face.png", cwd=tmp_path))
    assert not answer["torch"]
    assert answer["version"] == __version__
    assert Path(answer["file"]).is_relative_to(tmp_path / "device")
    assert answer["memory"] > 0
    assert answer["logit"] == predict(model, tmp_path / "face.png")[0].logit
