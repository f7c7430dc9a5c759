"""Compares the latency, memory and size of ONNX files."""

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brevitas_defakeq.runtime.onnx_file import onnxruntime, open_session
from brevitas_defakeq.runtime.peak_memory import peak_memory_bytes
from brevitas_defakeq.runtime.random_inputs import random_inputs
from brevitas_defakeq.utils.errors import UserError


def latency(
    paths: Sequence[str | os.PathLike], *, threads: int = 1, runs: int = 50, warmup: int = 5
) -> dict[str, Any]:
    """The latency of one image in each of several ONNX files, measured alternately in this process.

    Args:
        paths: ONNX files, the reference (the float model) first.
        threads: threads within an operator, from 1.
        runs: measured runs of each file, from 1.
        warmup: unmeasured runs before them, from 0.

    Returns:
        JSON-able: ``onnxruntime``, ``processor``, ``threads``, ``runs``, ``warmup`` and ``files``, each with
        ``path``, ``median_ms``, ``p10_ms``, ``p90_ms``, ``ratio`` (median over the first file's median),
        ``file_bytes`` (without weights stored outside the file) and
        ``peak_memory_bytes`` (of loading and one run, in a fresh process; None on Windows).

    Raises:
        UserError: no file, a file that cannot be loaded, or numbers out of range.
    """
    files = [Path(paths)] if isinstance(paths, str | os.PathLike) else [Path(path) for path in paths]
    if not files:
        raise UserError("paths is empty; give one ONNX file or more, the float model first")
    if type(runs) is not int or type(warmup) is not int or runs < 1 or warmup < 0:
        raise UserError(f"runs={runs!r}, warmup={warmup!r}: give whole numbers, at least 1 and at least 0")
    times = _measure_alternately(files, threads, runs, warmup)  # [runs, files]
    medians = np.median(times, axis=0)
    return {
        "onnxruntime": onnxruntime().__version__,
        "processor": platform.processor() or platform.machine(),
        "threads": threads,
        "runs": runs,
        "warmup": warmup,
        "files": [
            {
                "path": str(path),
                "median_ms": float(medians[index]),
                "p10_ms": float(np.quantile(times[:, index], 0.1)),
                "p90_ms": float(np.quantile(times[:, index], 0.9)),
                "ratio": float(medians[index] / medians[0]),
                "file_bytes": path.stat().st_size,
                "peak_memory_bytes": peak_memory_bytes(path, threads),
            }
            for index, path in enumerate(files)
        ],
    }


def _measure_alternately(files: list[Path], threads: int, runs: int, warmup: int) -> np.ndarray:
    """Milliseconds [runs, files]; each round runs every file once, so a slow moment affects them all."""
    sessions = [open_session(path, threads, side_by_side=True) for path in files]
    inputs = [random_inputs(session, path) for session, path in zip(sessions, files, strict=True)]
    times = np.empty((warmup + runs, len(files)))
    for row in times:
        for index, (session, values) in enumerate(zip(sessions, inputs, strict=True)):
            start = time.perf_counter()
            session.run(None, values)
            row[index] = (time.perf_counter() - start) * 1000
    return times[warmup:]
