"""Rows of other compression at the bytes that ``best`` takes."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.compression.measured_run import measured
from benchmarks.suite.material import material
from benchmarks.suite.tasks import COMPRESSION, Task
from brevitas_defakeq.config import DefakeQConfig


def run_compression(task: Task, data: Path | None, target: int) -> dict[str, Any]:
    """The row of a task whose method is no quantization, ready for JSON.

    Args:
        target: bytes of the weights' file, reached up to 1 % less.

    Raises:
        UserError: the method cannot reach that size.
    """
    given = material(task.vehicle, samples=task.samples, seed=task.seed, size=task.test, data=data)
    config = DefakeQConfig.for_recipe("best", seed=task.seed, samples=task.samples)
    found = measured(
        given.detector, given.calibration, given.test, given.parts, COMPRESSION[task.method], target, config
    )  # fmt: skip
    return {
        "task": asdict(task),
        "paper": "",
        "differs": f"as many bytes as best takes at {task.bits:g} bits, float activations",
        "bytes": {
            "float": found["size_bytes"]["float"], "weights": found["size_bytes"]["compressed"], "onnx": None
        },
        "seconds": {"whole": round(found["wall_seconds"], 1), **found["seconds"]},
        "forward_passes": found["forward_passes"],
        "float_auc": found["metrics"]["float"]["auc"],
        "metrics": found["metrics"]["compressed"],
        "provenance": found["provenance"],
    }  # fmt: skip
