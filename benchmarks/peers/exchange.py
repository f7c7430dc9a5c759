"""What the harness and a tool's script hand each other: files in a folder, nothing else.

The harness writes the float detector and the images (`benchmarks.peers.vehicle_files`); a script, run by its
own environment's Python as ``python -m benchmarks.peers.tools.NAME FOLDER METHOD``, leaves its files and
``result.json`` in ``FOLDER/NAME/METHOD``. Needs NumPy alone, as the scripts' environments differ.
"""

import contextlib
import importlib.metadata
import json
import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

#: Names of the float ONNX file's input [1, 3, H, W] and output [1, 1].
INPUT, OUTPUT = "image", "logit"
RESULT_FILE = "result.json"
#: The folder of images in a detector's.
IMAGES = "images"


@dataclass(frozen=True)
class Given:
    """The folder that the harness wrote.

    Attributes:
        folder: holds ``float.onnx`` (opset 17, batch 1) and ``float.pt`` (the module, for tools that take
            torch); its ``images`` holds ``calibration.npy`` and ``test.npy`` (preprocessed, float32
            [N, 3, H, W]).
        out: where the method's files belong.
    """

    folder: Path
    out: Path

    @property
    def onnx(self) -> Path:
        return self.folder / "float.onnx"

    def calibration(self) -> np.ndarray:
        """Images [N, 3, H, W]; no tool is told their labels."""
        return np.load(self.folder / IMAGES / "calibration.npy")

    def test(self) -> np.ndarray:
        """Images [N, 3, H, W] that the logits are of."""
        return np.load(self.folder / IMAGES / "test.npy", mmap_mode="r")

    def module(self) -> Any:
        """The float detector in evaluation mode: images [N, 3, H, W] to fake logits [N, 1]."""
        import torch

        return torch.load(self.folder / "float.pt", weights_only=False).eval()

    def feeds(self) -> list[dict[str, np.ndarray]]:
        """The calibration images one by one, as onnxruntime takes them."""
        return [{INPUT: image[None]} for image in self.calibration()]


@dataclass
class Made:
    """What a method wrote.

    Attributes:
        files: relative to the method's folder; their sizes are added up. The first is the one that runs.
        weights, activations: widths in words, such as "8 per channel" or "float".
        runtime: "onnxruntime" where the first file is run by the harness, else what gave ``logits``.
        logits: [N] of the test images, where the harness cannot run the file.
        note: what a reader has to know, such as layers that the tool leaves in float.
    """

    files: list[str]
    weights: str
    activations: str
    runtime: str = "onnxruntime"
    logits: np.ndarray | None = None
    note: str = ""


Method = Callable[[Given], Made]


@dataclass(frozen=True)
class Peer:
    """A tool: the packages whose versions are recorded, and its methods by name."""

    packages: tuple[str, ...]
    methods: Mapping[str, Method] = field(default_factory=dict)


def serve(name: str, peer: Peer) -> None:
    """What a script does: run one method, write ``result.json``; a method's exception becomes its refusal."""
    folder, method = Path(sys.argv[1]).resolve(), sys.argv[2]
    given = Given(folder, folder / name / method)
    shutil.rmtree(given.out, ignore_errors=True)
    given.out.mkdir(parents=True)
    os.chdir(given.out)  # some tools leave files where they run
    result: dict[str, Any] = {
        "versions": {package: importlib.metadata.version(package) for package in peer.packages}
    }
    random.seed(0)
    np.random.seed(0)
    with contextlib.suppress(ImportError):
        import torch

        torch.manual_seed(0)
    started = time.perf_counter()
    try:
        made = peer.methods[method](given)
    except Exception as error:  # a foreign tool's errors share no base
        result["refused"] = refusal(error)
    else:
        fields = asdict(made)
        if made.logits is not None:
            np.save(given.out / "logits.npy", np.asarray(fields.pop("logits"), dtype=np.float32).reshape(-1))
        fields.pop("logits", None)
        result |= fields | {"seconds": time.perf_counter() - started}
    (given.out / RESULT_FILE).write_text(json.dumps(result))


def refusal(error: BaseException) -> str:
    """An error in one line of at most 300 characters, with its class."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
