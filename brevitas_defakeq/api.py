"""``quantize``: one call from a float detector and calibration images to the finished result."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from brevitas_defakeq.artifact import QuantizedDetector, float_bytes, weights_bytes
from brevitas_defakeq.calibration_set import CalibrationSet, from_source, from_tensors
from brevitas_defakeq.config import DefakeQConfig
from brevitas_defakeq.data.source_overlap import refuse_shared
from brevitas_defakeq.data.sources import Sample
from brevitas_defakeq.detectors.output import OutputSpec
from brevitas_defakeq.detectors.resolve import Detector
from brevitas_defakeq.evaluation.frame_table import FrameTable
from brevitas_defakeq.evaluation.labelled_set import LabelledSet
from brevitas_defakeq.evaluation.predict import Observed, observe_all
from brevitas_defakeq.evaluation.summary import summarize
from brevitas_defakeq.evaluation.threshold import carry_threshold
from brevitas_defakeq.haq.hardware_costs_file import open_costs
from brevitas_defakeq.haq.hardware_widths import hardware_figures
from brevitas_defakeq.imaging.image_files import usable
from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.pipeline import Job
from brevitas_defakeq.progress import ProgressCallback, silent
from brevitas_defakeq.provenance import provenance
from brevitas_defakeq.quantization_request import QuantizationRequest
from brevitas_defakeq.resume import Checkpoint
from brevitas_defakeq.utils.errors import UserError

_LOG = logging.getLogger(__name__)
_BATCH = 16
_REPORT_VERSION = 1


def quantize(
    detector: nn.Module | Detector,
    calibration: Tensor | Iterable[Tensor] | str | Path | Sequence[Sample],
    config: DefakeQConfig | None = None,
    *,
    labels: Tensor | None = None,
    test: str | Path | Sequence[Sample] | LabelledSet | None = None,
    out: str | Path | None = None,
    preprocessing: Preprocessing | None = None,
    output: OutputSpec | None = None,
    feature: str | None = None,
    on_corrupt: str = "refuse",
    costs: str | Path | None = None,
    cache_memory: int = 2 << 30,
    device: str = "cpu",
    on_progress: ProgressCallback = silent,
) -> QuantizedDetector:
    """Quantize a trained detector by HAQ and VEFT (Algorithm 1).

    Args:
        detector: an ``nn.Module`` that takes an image batch, or what ``detectors.resolve`` gives; untouched.
        calibration: preprocessed images [N, 3, H, W] (or batches of them), or a data source (folder, CSV,
            samples), which then needs ``preprocessing`` unless the detector brings its own.
        config: every setting; the default is ``recipe="best"`` at 3 bits on average.
        labels: 0 real, 1 fake, [N], for tensors; used by eq. 9's negatives and the carried threshold.
        test: labelled data to report AUC on; never used to choose anything.
        out: run folder; makes the run resumable and saves the result there.
        output: how to read the fake logit; found from the output's shape by default.
        feature: module whose output eq. 9 aligns; by default what the last layer reads.
        on_corrupt: "refuse" or "skip" unreadable calibration and test images.
        costs: what layers cost on a chip, a file of ``hw/costs.py``; for a config with a ``budget``.
        cache_memory: bytes of captured activations kept in memory; more go to disk.
        device: "cpu", or "cuda" for a graphics card; the result comes back to the processor.
        on_progress: called with (stage, done, total).

    Raises:
        UserError: for everything the user can mend.
    """
    order = begin(
        detector, calibration, config, labels=labels, test=test, preprocessing=preprocessing, output=output,
        feature=feature, on_corrupt=on_corrupt, costs=costs, cache_memory=cache_memory, device=device,
        on_progress=on_progress,
    )  # fmt: skip
    checkpoint = Checkpoint(Path(out) if out else None, order.identity())
    job = order.job(checkpoint)
    result = order.carry_out(job)
    report_(result, order, job)
    result.report["identity"] = checkpoint.identity
    if out:
        result.save(out)
        checkpoint.done()
    return result


def begin(
    detector, calibration, config=None, *, labels=None, test=None, preprocessing=None, output=None,
    feature=None, on_corrupt="refuse", costs=None, cache_memory=2 << 30, device="cpu", on_progress=silent,
) -> QuantizationRequest:  # fmt: skip
    """The arguments of ``quantize``, checked, loaded and prepared."""
    config = config or DefakeQConfig()
    hardware = open_costs(costs, config.budget)
    detector = _as_detector(detector, preprocessing, output, feature)
    tests = labelled_set(test, detector, on_corrupt)
    images = _calibration(calibration, labels, detector, config, on_corrupt)
    if tests is not None:
        refuse_shared(images.samples, tests.samples)
    order = QuantizationRequest(
        detector, images, tests, config, cache_memory, found_device(device), on_progress, hardware
    )
    if len(images.images) < config.samples:
        _LOG.warning("%d calibration images, fewer than the %d asked for", len(images.images), config.samples)
    return order


def report_(result: QuantizedDetector, order: QuantizationRequest, job: Job) -> None:
    """Figures on the test images, or on held-out calibration images, and the report with them."""
    with job.stage("evaluate"):
        metrics, thresholds = _metrics(job, result, order.images, order.tests)
    for model in (result.quantized, result.mixed):
        model.cpu()
    result.report = _report(job, result, order.detector, order.images, metrics, thresholds)


def found_device(name: str) -> torch.device:
    """The device of that name. Raises UserError where torch does not know it, or there is none."""
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device={name!r} is not known; give cpu or cuda") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device={name!r}: quantization runs on cpu or cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device={name!r}: this torch sees no CUDA device; leave --device out")
    return device


def _as_detector(detector, preprocessing, output, feature) -> Detector:
    if isinstance(detector, Detector):
        return detector
    name = type(detector).__name__
    feature = feature or getattr(detector, "feature_module", None)
    spec = {"kind": "module", "name": f"{type(detector).__module__}.{name}"}
    return Detector(detector, name, preprocessing, output or OutputSpec(), feature, spec, None)


def labelled_set(test, detector: Detector, on_corrupt: str) -> LabelledSet | None:
    """The test data, its images decoded once now: a broken one is no news for the end of a long run."""
    if test is None or isinstance(test, LabelledSet):
        return test
    preprocessing = _require_preprocessing(detector)
    listed = LabelledSet.from_source(test, preprocessing)
    kept, _ = usable(listed.samples, on_corrupt=on_corrupt)
    return LabelledSet.from_source(kept, preprocessing)


def _calibration(
    calibration, labels, detector: Detector, config: DefakeQConfig, on_corrupt
) -> CalibrationSet:
    listed = isinstance(calibration, Sequence) and len(calibration) and isinstance(calibration[0], Sample)
    if isinstance(calibration, str | Path) or listed:
        preprocessing = _require_preprocessing(detector)
        return from_source(
            calibration, preprocessing, config.samples, seed=config.seed, on_corrupt=on_corrupt
        )
    return from_tensors(calibration, labels, config.samples)


def _require_preprocessing(detector: Detector) -> Preprocessing:
    if detector.preprocessing is None:
        raise UserError(
            "images from files need preprocessing=Preprocessing(input_size=..., mean=..., std=...)"
        )
    return detector.preprocessing


def _metrics(job: Job, result, images: CalibrationSet, tests: LabelledSet | None) -> tuple[dict, dict]:
    """Figures of float, round-to-nearest, M_q and M_q^v, and the thresholds; test images are read once."""
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
    chosen = {form: models[form].to(job.device) for form in ("float", "quantized", "mixed")}
    calibration = observe_all(chosen, result.observer, job.batches())
    thresholds = {"float": 0.0} | {
        form: carried_threshold(calibration["float"], calibration[form], images.labels)
        for form in ("quantized", "mixed")
    }
    if tests is None:
        held_out = images.images[job.held_out].split(_BATCH)
        return summarize(observe_all(models, result.observer, held_out), thresholds, None), thresholds
    observed = observe_all(models, result.observer, tests.batches())
    return summarize(observed, thresholds, FrameTable.from_samples(tests.samples)), thresholds


def carried_threshold(reference: Observed, other: Observed, labels: Tensor | None) -> float:
    """The score at which a form has the float model's false-positive rate on the calibration images."""
    chosen = slice(None) if labels is None or not (labels == 0).any() else (labels == 0).numpy()
    return carry_threshold(reference.scores[chosen], other.scores[chosen])


def _report(job: Job, result, detector: Detector, images: CalibrationSet, metrics, thresholds) -> dict:
    chip = {}
    if job.hardware:
        chip = {"hardware": hardware_figures(result.bits, job.sizes, job.config, job.hardware)}
    size_bytes: Mapping[str, int] = {
        "float": float_bytes(detector.model),
        **{form: len(weights_bytes(tensors)) for form, tensors in result.packed.items()},
    }
    return {
        "format_version": _REPORT_VERSION,
        "detector": {
            "name": detector.name, **detector.spec, "weights": detector.weights, "dropped": detector.dropped,
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
        "seconds": {stage: round(seconds, 2) for stage, seconds in job.seconds.items()},
        "forward_passes": round(job.meter.passes(), 1),
        "metrics": metrics,
        "preprocessing": detector.preprocessing.to_dict() if detector.preprocessing else None,
        "threshold": thresholds,
        "calibration": {
            "count": len(images.images), "hash": images.hash, "files": images.files, "skipped": images.skipped
        },
        "provenance": provenance(job.config.seed),
    }  # fmt: skip


def reached_bits(job: Job, result: QuantizedDetector) -> float:
    """The average width, by weights."""
    return sum(result.bits[name] * size for name, size in job.sizes.items()) / sum(job.sizes.values())


def _budget(config: DefakeQConfig) -> float | dict[str, float]:
    """Bits a weight; where a chip's budget was given, every one by name."""
    if not config.budget:
        return config.average_bits
    average = {} if config.average_bits is None else {"average_bits": config.average_bits}
    return {**config.budget, **average}
