"""What several test files share: a tiny detector, tiny images, and a way to run commands quickly."""

import functools
import gc
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from brevitas_defakeq.config import DefakeQConfig

if "PYTEST_XDIST_WORKER" in os.environ:  # the processes share the cores
    torch.set_num_threads(1)


def pytest_collection_finish():
    """The collector leaves alone what was imported: each full collection goes over half a million objects."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def torchlib_read_once():
    """For each export torch.onnx has the sources of all operators parsed again: a sixth of its time."""
    apis = importlib.import_module("torch.onnx._internal.exporter._registration").onnxscript_apis
    apis.get_torchlib_ops = functools.cache(lambda: importlib.import_module(apis.__name__).get_torchlib_ops())


DATA_FILES = Path(__file__).resolve().parent / "data_files"
sys.path.insert(0, str(DATA_FILES))  # its modules serve tests of every package


@pytest.fixture(scope="session")
def tiny():
    """The module ``tiny_detector``: ``model(head, seed)``, ``build``, ``SIZE``."""
    return importlib.import_module("tiny_detector")


@pytest.fixture
def pace() -> float:
    """Processor seconds of a fixed piece of work, measured now; time limits are multiples of it."""
    return importlib.import_module("pace").pace()


def draw(count: int, seed: int = 0, size: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth images [N, 3, size, size] of unit spread; every second one carries a checkerboard (label 1)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, 4, 4, generator=generator)
    images = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False)
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    labels = torch.arange(count) % 2
    checkerboard = 1.0 - 2.0 * ((rows + columns) % 2)
    return images + 0.5 * labels.view(-1, 1, 1, 1) * checkerboard, labels


@pytest.fixture(scope="session")
def images():
    """32 calibration images [32, 3, 16, 16]."""
    return draw(32)[0]


@pytest.fixture(scope="session")
def labels():
    """Their labels [32]."""
    return draw(32)[1]


@pytest.fixture(scope="session")
def drawn():
    """``drawn(count, seed)``: more images and labels of the same kind."""
    return draw


def quick(**changes) -> DefakeQConfig:
    """Few steps: enough to run through everything. Stage fields are given as ``stage__field=value``."""
    recipe = changes.pop("recipe", "best")
    top = {name: value for name, value in changes.items() if "__" not in name}
    config = DefakeQConfig.for_recipe(recipe, **{"samples": 32, **top})
    nested = {
        "reconstruction__iterations": 6, "final__steps": min(6, config.final.steps), "haq__relaxed_steps": 60,
    }  # fmt: skip
    nested |= {name: value for name, value in changes.items() if "__" in name}
    for name, value in nested.items():
        stage, _, field = name.partition("__")
        config = replace(config, **{stage: replace(getattr(config, stage), **{field: value})})
    return config


@pytest.fixture(scope="session")
def quick_config():
    """``quick_config(average_bits=3, veft__enabled=True, ...)``."""
    return quick


def costs_of(shapes: dict, rates=(100.0,), bits=(2, 3, 4, 5, 6, 7, 8)) -> dict:
    """What ``hw/costs.py`` would write: LUTs by width and rate, fewer of one layer more of another."""
    tables = []
    for rate in rates:
        layers = {
            name: {
                "lut": [100 + (10 + 7 * index) * width * rate / 100 for width in bits],
                "bram": [float(np.ceil(width * np.prod(shape) / 2000)) for width in bits],
                "dsp": [float(width >= 4) for width in bits],
                "cycles": [1e6 / rate - index for _ in bits],
            }
            for index, (name, shape) in enumerate(shapes.items())
        }
        fixed = {"lut": 50.0, "bram": 2.0, "dsp": 0.0, "cycles": 1e6 / rate - 100}
        tables.append({"fps": rate, "fixed": fixed, "layers": layers})
    return {
        "format_version": 1, "board": "made up", "bits": list(bits), "tables": tables,
        "layers": {name: {"weight_shape": list(shape)} for name, shape in shapes.items()},
    }  # fmt: skip


@pytest.fixture(scope="session")
def hardware_costs():
    """``hardware_costs({layer: shape}, rates, bits)``: the content of a file of costs."""
    return costs_of


# ---------------------------------------------------------------------------------------------- commands


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    status: int
    output: str
    errors: str

    def json(self) -> dict:
        """The one JSON object on standard output."""
        lines = self.output.strip().splitlines()
        assert len(lines) == 1, self.output
        return json.loads(lines[0])

    def one_line(self) -> str:
        """The only line on standard error, without the command's name."""
        assert self.errors.startswith("defakeq: "), self.errors
        assert self.errors.endswith("\n") and self.errors.count("\n") == 1, self.errors
        assert "Traceback" not in self.errors
        return self.errors.removeprefix("defakeq: ").rstrip("\n")


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """Forks a process for every command, after the slow imports; see ``data_files/command_server.py``."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    program = [sys.executable, str(DATA_FILES / "command_server.py")]
    process = subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=environment,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("streams")

    def run(arguments, working_folder: Path, kill_when=(), kill_by=signal.SIGKILL) -> Outcome:
        output, errors = folder / "output", folder / "errors"
        request = {
            "arguments": list(map(str, arguments)), "folder": str(working_folder), "output": str(output),
            "errors": str(errors), "kill_when": list(map(str, kill_when)), "kill_by": kill_by,
        }  # fmt: skip
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        status = process.stdout.readline()
        assert status, "the command server has stopped"
        return Outcome(int(status), output.read_text(), errors.read_text())

    yield run
    process.stdin.close()
    process.wait(timeout=120)
    process.stdout.close()


def save_faces(folder: Path, count: int = 12, size: int = 20, seed: int = 0) -> None:
    """``count`` real and ``count`` fake images: smooth ones, and ones made of hard squares."""
    generator = np.random.default_rng(seed)
    for label, filter_ in (("real", Image.Resampling.BICUBIC), ("fake", Image.Resampling.NEAREST)):
        (folder / label).mkdir(parents=True)
        for index in range(count):
            blocks = Image.fromarray(generator.integers(0, 255, (5, 5, 3), dtype=np.uint8))
            blocks.resize((size, size), filter_).save(folder / label / f"{index:02d}.png")


@dataclass(frozen=True)
class Workplace:
    """A working folder with ``tiny_detector.py`` and images in ``faces`` (to calibrate) and ``others``."""

    folder: Path
    server: object

    def __call__(self, *arguments, **kill) -> Outcome:
        return self.server(arguments, self.folder, **kill)

    def quantize(self, *arguments, out="run", iterations=6, **kill) -> Outcome:
        """A quick run on the tiny detector; later arguments win.

        With ``kill_when=files`` it gets ``kill_by``, else SIGKILL, once one of them is there.
        """
        return self(
            "quantize", "tiny_detector:build", "--calibration", "faces", "--samples", 24, "--iterations",
            iterations, "--out", out, *arguments, **kill,
        )  # fmt: skip


def _workplace(folder: Path, server) -> Workplace:
    shutil.copy(DATA_FILES / "tiny_detector.py", folder)
    save_faces(folder / "faces")
    save_faces(folder / "others", seed=1)
    return Workplace(folder, server)


@pytest.fixture
def workplace(tmp_path, server):
    """An empty working folder for commands."""
    return _workplace(tmp_path, server)


@pytest.fixture(scope="session")
def finished(tmp_path_factory, server):
    """A working folder whose ``run`` is finished (with test data), its checkpoint in ``tiny.pth``."""
    made = _workplace(tmp_path_factory.mktemp("finished"), server)
    torch.save(_tiny_state(), made.folder / "tiny.pth")
    outcome = made.quantize("--weights", "tiny.pth", "--test", "others", "--json")
    assert outcome.status == 0, outcome.errors
    (made.folder / "quantize.json").write_text(outcome.output)
    return made


def _tiny_state() -> dict:
    return importlib.import_module("tiny_detector").model(seed=5).state_dict()
