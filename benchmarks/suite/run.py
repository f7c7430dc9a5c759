"""One task: quantize, export, score the test images; the JSON of its row."""

import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measures import measures
from benchmarks.presets import PRESETS
from benchmarks.suite.faces import TestSize, calibration_faces, test_faces
from benchmarks.suite.tasks import Task
from benchmarks.vehicles import detector
from brevitas_defakeq import export_onnx
from brevitas_defakeq.artifact import QuantizedDetector
from brevitas_defakeq.calibration_set import from_tensors
from brevitas_defakeq.config import DefakeQConfig
from brevitas_defakeq.detectors.observer import Observer
from brevitas_defakeq.evaluation.predict import observe_all
from brevitas_defakeq.prepare.plan import Plan
from brevitas_defakeq.quantization_request import prepare_request
from brevitas_defakeq.resume import Checkpoint
from brevitas_defakeq.run_report import add_report_
from brevitas_defakeq.utils.errors import UserError

_ENDS_BITS = 8.0


def run(task: Task) -> dict[str, Any]:
    """The row of a task, ready for JSON."""
    preset, vehicle = PRESETS[task.method], detector(task.vehicle)
    calibration = from_tensors(*calibration_faces(task.samples, task.seed), task.samples)
    config = preset.config(
        average_bits=task.bits, activation_bits=task.activation_bits, seed=task.seed, samples=task.samples
    )
    start = time.perf_counter()
    request = prepare_request(vehicle, calibration, config, device=torch.device("cpu"))
    if preset.ends:
        request = replace(request, config=_with_ends(config, request.plan))
    if not float(task.bits).is_integer():  # no uniform width has this average
        request = replace(request, config=_with_our_widths(request.config))
    job = request.job(Checkpoint(None, {}))
    result = request.carry_out(job)
    seconds = time.perf_counter() - start
    add_report_(result, request, job)
    report, test = result.report, test_faces(task.test)
    scores = observe_all({"quantized": result.quantized}, request.observer, test.batches())[
        "quantized"
    ].scores
    labels, datasets = (
        np.array([getattr(sample, key) for sample in test.samples]) for key in ("label", "dataset")
    )
    reference = float_scores(task.vehicle, request.observer, task.test)
    return {
        "task": asdict(task), "paper": preset.paper, "differs": preset.differs,
        "bytes": {"float": report["size_bytes"]["float"], "weights": report["size_bytes"]["quantized"],
                  "onnx": _file_bytes(result)},
        "average_bits": report["average_bits"],
        "seconds": {"whole": round(seconds, 1), **report["seconds"]},
        "forward_passes": report["forward_passes"],
        "float_auc": measures(reference, reference, labels, datasets)["auc"],
        "metrics": measures(scores, reference, labels, datasets),
        "bits": report["bits"],
        "provenance": report["provenance"],
    }  # fmt: skip


def _with_ends(config: DefakeQConfig, plan: Plan) -> DefakeQConfig:
    ends = {name: _ENDS_BITS for name in (plan.layers[0].name, plan.head) if name}
    return replace(config, haq=replace(config.haq, pinned=ends))


def _with_our_widths(config: DefakeQConfig) -> DefakeQConfig:
    return replace(config, haq=replace(config.haq, enabled=True))


def _file_bytes(result: QuantizedDetector) -> int | None:
    """Of the ONNX file; None where ONNX cannot hold the run (logarithmic activations)."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            export_onnx(result, folder)
        except UserError:
            return None
        return sum(path.stat().st_size for path in Path(folder).glob("*.onnx*"))


_FLOAT_SCORES: dict[tuple[str, TestSize], np.ndarray] = {}


def float_scores(vehicle: str, observer: Observer, size: TestSize) -> np.ndarray:
    """Logits [N] of the float detector on the test images, computed once a process."""
    if (vehicle, size) not in _FLOAT_SCORES:
        model = detector(vehicle).model.eval()
        _FLOAT_SCORES[vehicle, size] = observe_all({"float": model}, observer, test_faces(size).batches())[
            "float"
        ].scores
    return _FLOAT_SCORES[vehicle, size]
