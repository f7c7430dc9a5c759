"""One task: quantize, export, score the test images; the JSON of its row."""

import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.measures import measures
from benchmarks.presets import PEERS, PRESETS, Preset
from benchmarks.suite.faces import TestSize
from benchmarks.suite.material import Material, material
from benchmarks.suite.saliency import compared_maps
from benchmarks.suite.tasks import Task
from brevitas_defakeq import export_onnx
from brevitas_defakeq.artifact import QuantizedDetector
from brevitas_defakeq.config import DefakeQConfig
from brevitas_defakeq.detectors.observer import Observer
from brevitas_defakeq.evaluation.metrics import auc
from brevitas_defakeq.evaluation.predict import observe_all
from brevitas_defakeq.pipeline import Job
from brevitas_defakeq.prepare.plan import Plan
from brevitas_defakeq.quantization_request import QuantizationRequest, prepare_request
from brevitas_defakeq.resume import Checkpoint
from brevitas_defakeq.run_report import add_report_
from brevitas_defakeq.utils.errors import UserError

_ENDS_BITS = 8.0


@dataclass(frozen=True)
class Made:
    """A detector that a method has quantized, with the request and the job that did it."""

    result: QuantizedDetector
    request: QuantizationRequest
    job: Job
    seconds: float


def quantized(task: Task, preset: Preset, given: Material) -> Made:
    """The task's detector by the preset, not reported on."""
    config = preset.config(
        average_bits=task.bits, activation_bits=task.activation_bits, seed=task.seed, samples=task.samples
    )
    start = time.perf_counter()
    request = prepare_request(given.detector, given.calibration, config, device=torch.device("cpu"))
    if preset.ends:
        request = replace(request, config=_with_ends(config, request.plan))
    if task.method in PEERS and not float(task.bits).is_integer():  # no uniform width has this average
        request = replace(request, config=_with_our_widths(request.config))
    job = request.job(Checkpoint(None, {}))
    return Made(request.carry_out(job), request, job, time.perf_counter() - start)


def run(task: Task, data: Path | None = None) -> dict[str, Any]:
    """The row of a task, ready for JSON; ``data`` is the folder of the real detectors and photographs."""
    preset = PRESETS[task.method]
    given = material(task.vehicle, samples=task.samples, seed=task.seed, size=task.test, data=data)
    made = quantized(task, preset, given)
    result, request = made.result, made.request
    add_report_(result, request, made.job)
    report = result.report
    scores = _scores(result.quantized, request.observer, given)
    reference = float_scores(task, request.observer, given)
    return {
        "task": asdict(task),
        "paper": preset.paper,
        "differs": preset.differs,
        "bytes": {
            "float": report["size_bytes"]["float"], "weights": report["packed_bytes"]["quantized"],
            "onnx": _file_bytes(result),
        },
        "average_bits": report["average_bits"],
        "seconds": {"whole": round(made.seconds, 1), **report["seconds"]},
        "forward_passes": report["forward_passes"],
        "float_auc": auc(given.labels, reference),
        "metrics": measures(scores, reference, given.labels, given.parts),
        "saliency": compared_maps(made.job.reference, result.quantized, request.observer, given.test),
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


def float_scores(task: Task, observer: Observer, given: Material) -> np.ndarray:
    """Logits [N] of the float detector on the test images, computed once a process."""
    key = task.vehicle, task.test
    if key not in _FLOAT_SCORES:
        _FLOAT_SCORES[key] = _scores(given.detector.model.eval(), observer, given)
    return _FLOAT_SCORES[key]


def _scores(model: nn.Module, observer: Observer, given: Material) -> np.ndarray:
    return observe_all({"": model}, observer, given.test.batches())[""].scores
