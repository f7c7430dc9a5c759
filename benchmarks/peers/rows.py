"""One row: a tool's method on one detector, run in the tool's environment, scored and measured here."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measures import measures
from benchmarks.peers.environments import environment
from benchmarks.peers.exchange import IMAGES, INPUT, RESULT_FILE, refusal
from brevitas_defakeq.runtime.onnx_file import open_session
from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import size_on_disk

ROOT = Path(__file__).resolve().parents[2]


def peer_row(tool: str, method: str, folder: Path, minutes: float) -> dict[str, Any]:
    """The row's JSON: ``bytes``, widths, ``seconds``, ``metrics``; or ``refused`` with the tool's message.

    Args:
        folder: a detector's (`write_vehicle`).
        minutes: a method that takes longer is given up.
    """
    names = {"tool": tool, "method": method}
    try:
        made = run_script(environment(tool), tool, method, folder, minutes)
    except UserError as error:
        return names | {"refused": str(error)}
    if "refused" in made:
        return names | made
    out = folder / tool / method
    files = [out / name for name in made["files"]]
    try:
        runs_here = made["runtime"] == "onnxruntime"
        logits = scores(files[0], folder / IMAGES) if runs_here else np.load(out / "logits.npy")
    except Exception as error:  # onnxruntime's errors share no other base
        return names | made | {"refused": f"the file cannot be run: {refusal(error)}"}
    return (
        names
        | made
        | {"bytes": sum(size_on_disk(file) for file in files), "metrics": compared(logits, folder)}
    )


def float_row(folder: Path) -> dict[str, Any]:
    """The row of the float file itself, as onnxruntime runs it."""
    file, metrics = folder / "float.onnx", compared(float_logits(folder), folder)
    return {
        "tool": "float", "method": "float", "files": [file.name], "weights": "float", "activations": "float",
        "runtime": "onnxruntime", "bytes": size_on_disk(file), "metrics": metrics,
    }  # fmt: skip


def compared(logits: np.ndarray, folder: Path) -> dict[str, Any]:
    """`measures` of the test images' logits beside the float file's."""
    images = folder / IMAGES
    with np.load(images / "parts.npz") as parts:
        return measures(logits, float_logits(folder), np.load(images / "labels.npy"), dict(parts))


def float_logits(folder: Path) -> np.ndarray:
    """Logits [N] of the float file, kept beside it."""
    kept = folder / "float_logits.npy"
    if not kept.exists():
        np.save(kept, scores(folder / "float.onnx", folder / IMAGES))
    return np.load(kept)


def scores(file: Path, images: Path) -> np.ndarray:
    """Logits [N] of the test images, one image at a time in onnxruntime."""
    session = open_session(file, threads=1)
    test = np.load(images / "test.npy", mmap_mode="r")
    return np.array([float(session.run(None, {INPUT: image[None]})[0].item()) for image in test])


def run_script(python: Path, tool: str, method: str, folder: Path, minutes: float) -> dict[str, Any]:
    """What a tool's script wrote of one method.

    Raises:
        UserError: it ended without a result, or not in time.
    """
    command = [str(python), "-m", f"benchmarks.peers.tools.{tool}", str(folder), method]
    surroundings = os.environ | {"PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=surroundings, capture_output=True, text=True, timeout=60 * minutes
        )  # fmt: skip
    except subprocess.TimeoutExpired as late:
        said = last_line((late.stderr or b"").decode(errors="replace"))
        raise UserError(f"did not end in {minutes:g} minutes; it said last: {said}"[:300]) from None
    file = folder / tool / method / RESULT_FILE
    if done.returncode or not file.exists():
        raise UserError(f"ended with status {done.returncode}: {last_line(done.stderr)}"[:300])
    return json.loads(file.read_text())


def last_line(said: str) -> str:
    """The last line, or state of a progress bar, that is not empty."""
    lines = [line.strip() for line in re.split(r"[\r\n]", said) if line.strip()]
    return lines[-1] if lines else "nothing"
