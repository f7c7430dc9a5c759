"""The same verdicts from old runtimes, from processors without VNNI and from ARM."""

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import brevitas_defakeq
from brevitas_defakeq import export_onnx, quantize
from brevitas_defakeq.demo import drawn_calibration
from brevitas_defakeq.export.onnx import RUNTIME
from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.runtime import predict

SOURCES = Path(brevitas_defakeq.__file__).resolve().parents[1]
#: A patch of the oldest release that the card names.
OLDEST = f"{RUNTIME}.3"
#: What the emulated processors run: the first with wheels for both that is also in use.
EMULATED = "1.22.1"
PROGRAM = """
import json, sys
from brevitas_defakeq.runtime import predict
print(json.dumps([verdict.logit for verdict in predict(sys.argv[1], sys.argv[2:], threads=1)]))
"""


@pytest.fixture(scope="module")
def exports(quick_config, randomized, tmp_path_factory):
    """Images on disk, and for each exported file its scores here and the allowed difference."""
    folder = tmp_path_factory.mktemp("exports")
    faces = []
    for index in range(6):
        pixels = np.random.default_rng(index).integers(0, 256, (7, 7, 3), dtype=np.uint8)
        faces.append(folder / f"{index}.png")
        Image.fromarray(pixels).resize((90, 110), Image.Resampling.BICUBIC).save(faces[-1])
    wanted = {}
    makers = {
        "convolutions": (lambda: timm.create_model("mobilenetv2_035", num_classes=1), 64),
        "transformer": (lambda: timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=1), 64),
    }
    for name, (make, side) in makers.items():
        torch.manual_seed(0)
        preprocessing = Preprocessing((side, side))
        images = drawn_calibration(preprocessing, 16)[0]
        for target in ("mobile", "any"):
            config = quick_config(
                target=target, samples=16, average_bits=4, reconstruction__iterations=0, final__steps=0
            )
            run = quantize(randomized(make()), images, config, preprocessing=preprocessing)
            for variant in ("quantized", "mixed"):
                out = folder / name / target / variant
                card = export_onnx(run, out, variant=variant, pixels=variant == "mixed", verify=images)
                logits = np.array([verdict.logit for verdict in predict(out / "model.onnx", faces)])
                allowed = 0.02 + 2 * card.provenance["agreement"]["unrest"]
                wanted[out / "model.onnx"] = logits, allowed * max(np.std(logits), 1e-3)
    return faces, wanted


def check(exports, command: list, environment: dict) -> None:
    """Every file scores every image as here when ``command`` runs the runtime, but for a code or two.

    Layer norms and softmax are sums in float, which each runtime and processor takes in its own order. They
    may move a score by as much as the model's own changes in float64 (the card's ``unrest``), as at export.
    """
    faces, wanted = exports
    for model, (logits, allowed) in wanted.items():
        arguments = [*map(str, command), "-c", PROGRAM, str(model), *map(str, faces)]
        outcome = subprocess.run(
            arguments, capture_output=True, text=True, env={**os.environ, **environment}, cwd=model.parent
        )
        assert outcome.returncode == 0, f"{model}: {outcome.stderr[-2000:]}"
        found = json.loads(outcome.stdout)
        assert np.abs(np.subtract(found, logits)).max() < allowed, (model, found, logits, allowed)
        assert ((np.array(found) > 0) == (logits > 0)).all(), (model, found, logits)


def environment_with(version: str, folder: Path) -> Path:
    """A Python of its own with one release of onnxruntime."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    packages = [f"onnxruntime=={version}", "numpy<2", "pillow"]  # built for numpy 1
    subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    return python


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_oldest_runtime(exports, tmp_path):
    python = environment_with(OLDEST, tmp_path / "oldest")
    check(exports, [python], {"PYTHONPATH": str(SOURCES)})


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_processor_without_vnni(exports, tmp_path):
    emulator = shutil.which("qemu-x86_64-static") or shutil.which("qemu-x86_64")
    if emulator is None:
        pytest.skip("needs Debian's qemu-user-static")
    python = environment_with(EMULATED, tmp_path / "haswell")
    check(exports, [emulator, "-cpu", "Haswell", python], {"PYTHONPATH": str(SOURCES)})


@pytest.mark.arm
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_arm(exports, tmp_path):
    emulator = shutil.which("qemu-aarch64-static")
    if emulator is None or not shutil.which("apt-get") or os.geteuid() != 0:
        pytest.skip("needs Debian's qemu-user-static, and root to fetch an aarch64 Python")
    script = Path(__file__).parents[1] / "data_files" / "make_arm_python.sh"
    subprocess.run(["bash", script, tmp_path, EMULATED], check=True, env={**os.environ, "PATH": _path()})
    python = [emulator, "-L", tmp_path / "root", tmp_path / "root/usr/bin/python3.11"]
    check(exports, python, {"PYTHONPATH": f"{SOURCES}{os.pathsep}{tmp_path / 'site'}"})


def _path() -> str:
    """The search path with this Python first: its pip fetches the wheels."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
