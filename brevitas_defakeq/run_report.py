"""The report of a run: metrics of its models, their thresholds, sizes, times and provenance."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from brevitas_defakeq.artifact import QuantizedDetector, float_bytes
from brevitas_defakeq.config import FORWARD_BATCH, DefakeQConfig
from brevitas_defakeq.evaluation.error_sources import error_sources
from brevitas_defakeq.evaluation.frame_table import FrameTable
from brevitas_defakeq.evaluation.metrics import carry_threshold
from brevitas_defakeq.evaluation.predict import Observed, observe_all
from brevitas_defakeq.evaluation.summary import summarize
from brevitas_defakeq.haq.hardware_widths import hardware_estimate
from brevitas_defakeq.pipeline import Job
from brevitas_defakeq.provenance import provenance
from brevitas_defakeq.quantization_request import QuantizationRequest
from brevitas_defakeq.storage.weights_transfer import packed_bytes
from brevitas_defakeq.utils.errors import first_line
from brevitas_defakeq.variants import QUANTIZED_VARIANTS

_FORMAT_VERSION = 1
#: Images for the sources of the error.
SOURCE_IMAGES = 32


def add_report_(result: QuantizedDetector, request: QuantizationRequest, job: Job) -> None:
    """Evaluate on the test images, or on held-out calibration images, and set ``result.report``."""
    with job.stage("evaluate"):
        metrics, thresholds = _metrics(job, result, request)
        sources = _error_sources(job, result)
    for model in (result.quantized, result.mixed):
        model.cpu()
    result.report = _report(job, result, request, metrics, thresholds) | {"error_sources": sources}


def _metrics(
    job: Job, result: QuantizedDetector, request: QuantizationRequest
) -> tuple[dict[str, dict], dict[str, float]]:
    """Metrics of float, round-to-nearest, M_q and M_q^v, and the thresholds; test images are read once."""
    average = job.config.average_bits or reached_bits(job, result)
    below = int(min(max(average, 2), 8))  # the integer width at or below the average, as far as there is one
    models = {
        "float": job.reference,
        "round_to_nearest": job.round_to_nearest(below),
        "quantized": result.quantized,
        "mixed": result.mixed,
    }
    if below < average < 8:
        models["round_to_nearest_above"] = job.round_to_nearest(below + 1)
    calibrated = observe_all(
        {variant: models[variant].to(job.device) for variant in ("float", *QUANTIZED_VARIANTS)},
        result.observer,
        job.batches(),
    )
    thresholds = {"float": 0.0} | {
        variant: carried_threshold(calibrated["float"], calibrated[variant], request.calibration.labels)
        for variant in QUANTIZED_VARIANTS
    }
    if request.test_set is None:
        held_out = request.calibration.images[job.held_out].split(FORWARD_BATCH)
        return summarize(observe_all(models, result.observer, held_out), thresholds, None), thresholds
    observed = observe_all(models, result.observer, request.test_set.batches())
    return summarize(observed, thresholds, FrameTable.from_samples(request.test_set.samples)), thresholds


def _error_sources(job: Job, result: QuantizedDetector) -> dict[str, Any]:
    """Where M_q's error of the logit comes from, on held-out calibration images."""
    model = result.quantized.to(job.device)
    images = job.images[job.held_out[:SOURCE_IMAGES]]
    layers = job.quantized_layers(model)
    try:
        return error_sources(job.reference, model, layers, images, result.observer).to_json()
    except RuntimeError as error:  # of torch: an operation of the detector has no gradient
        return {"none": first_line(error)}


def carried_threshold(reference: Observed, other: Observed, labels: Tensor | None) -> float:
    """The score at which a variant has the float model's false-positive rate on the calibration images."""
    chosen = slice(None) if labels is None or not (labels == 0).any() else (labels == 0).numpy()
    return carry_threshold(reference.scores[chosen], other.scores[chosen])


def _report(
    job: Job,
    result: QuantizedDetector,
    request: QuantizationRequest,
    metrics: dict[str, dict],
    thresholds: dict[str, float],
) -> dict[str, Any]:
    detector, calibration, chip = request.detector, request.calibration, {}
    if job.hardware:
        chip = {"hardware": hardware_estimate(result.bits, job.sizes, job.config, job.hardware)}
    size_bytes = {
        "float": float_bytes(detector.model),
        **{variant: len(result.weights_bytes(variant)) for variant in result.packed},
    }
    return {
        "format_version": _FORMAT_VERSION,
        "detector": {
            "name": detector.name, **_briefly(detector.spec), "weights": detector.weights,
            "dropped": detector.dropped, "untrained": detector.untrained,
            "crop": detector.crop.to_dict() if detector.crop else None,
        },
        "recipe": job.config.recipe,
        "budget": _budget(job.config),
        "average_bits": reached_bits(job, result),
        "activation_bits": job.config.activation_bits,
        "bits": result.bits,
        **chip,
        "left_float": job.plan.left_float,
        "size_bytes": size_bytes,
        "packed_bytes": {variant: packed_bytes(tensors) for variant, tensors in result.packed.items()},
        "seconds": {stage: round(seconds, 2) for stage, seconds in job.seconds.items()},
        "forward_passes": round(job.meter.passes(), 1),
        "metrics": metrics,
        "preprocessing": detector.preprocessing.to_dict() if detector.preprocessing else None,
        "threshold": thresholds,
        "calibration": {
            "count": len(calibration.images), "hash": calibration.hash, "files": calibration.files,
            "skipped": calibration.skipped, "outlying": calibration.outlying,
        },
        "provenance": provenance(job.config.seed),
    }  # fmt: skip


def _briefly(spec: Mapping[str, Any]) -> dict[str, Any]:
    """How to rebuild the detector, without an ONNX graph's program and settings."""
    return {key: value for key, value in spec.items() if key not in ("program", "folder")}


def reached_bits(job: Job, result: QuantizedDetector) -> float:
    """Average width of the run's weights, in bits."""
    return sum(result.bits[name] * size for name, size in job.sizes.items()) / sum(job.sizes.values())


def _budget(config: DefakeQConfig) -> float | dict[str, float] | None:
    """Bits a weight; with a chip's budget, every budget by name."""
    if not config.budget:
        return config.average_bits
    average = {} if config.average_bits is None else {"average_bits": config.average_bits}
    return {**config.budget, **average}
