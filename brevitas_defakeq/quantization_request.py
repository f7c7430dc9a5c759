"""A quantization request: detector, images, settings, and the prepared float model with its plan."""

import logging
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from brevitas_defakeq.artifact import QuantizedDetector
from brevitas_defakeq.calibration_set import CalibrationSet
from brevitas_defakeq.config import DEFAULT_CACHE_BYTES, FORWARD_BATCH, MINIMUM_SAMPLES, DefakeQConfig
from brevitas_defakeq.data.labelled_set import LabelledSet
from brevitas_defakeq.data.source_overlap import refuse_shared
from brevitas_defakeq.detectors.observer import Observer
from brevitas_defakeq.detectors.resolve import Detector
from brevitas_defakeq.file_agreement import require_agreement
from brevitas_defakeq.float_reference import prepare_float
from brevitas_defakeq.guess_output import settled_output
from brevitas_defakeq.haq.hardware_costs import HardwareCosts
from brevitas_defakeq.pipeline import Job
from brevitas_defakeq.prepare.equalize_norms import equalize_norms_
from brevitas_defakeq.prepare.outlying_images import outlying_images
from brevitas_defakeq.prepare.plan import Plan
from brevitas_defakeq.prepare.unquantized_outputs import paddings_of_values
from brevitas_defakeq.progress import ProgressCallback, silent
from brevitas_defakeq.resume import Checkpoint, tensor_digest

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class QuantizationRequest:
    """What one or several runs share; ``prepare_request`` makes it.

    Attributes:
        detector: the user's, untouched.
        calibration: its calibration images.
        test_set: labelled data for the report; never used to choose anything.
        reference: M_f, a prepared copy of the detector.
        plan: of M_f.
        observer: reads logit and feature of every variant.
        hardware: costs of M_f's layers on a chip, for a chip's budget.
        cache_bytes: captured activations kept in memory.
    """

    detector: Detector
    calibration: CalibrationSet
    test_set: LabelledSet | None
    config: DefakeQConfig
    reference: nn.Module
    plan: Plan
    observer: Observer
    hardware: HardwareCosts | None
    cache_bytes: int
    device: torch.device
    on_progress: ProgressCallback

    def identity(self) -> dict[str, Any]:
        """Everything that decides the result, as JSON."""
        preprocessing, labels = self.detector.preprocessing, self.calibration.labels
        return {
            "config": self.config.to_dict(), "detector": self.detector.spec,
            "calibration": self.calibration.hash, "weights": tensor_digest(self.reference.state_dict()),
            "labels": None if labels is None else labels.tolist(),
            "preprocessing": preprocessing.to_dict() if preprocessing else None,
            "observer": self.observer.to_dict(),
            **({"costs": self.hardware.digest} if self.hardware else {}),
        }  # fmt: skip

    def job(self, checkpoint: Checkpoint) -> Job:
        """Algorithm 1 for this request, not yet run."""
        return Job(
            reference=self.reference, plan=self.plan, images=self.calibration.images,
            labels=self.calibration.labels, observer=self.observer, config=self.config, checkpoint=checkpoint,
            on_progress=self.on_progress, cache_bytes=self.cache_bytes, device=self.device,
            hardware=self.hardware,
        )  # fmt: skip

    def carry_out(self, job: Job) -> QuantizedDetector:
        """Run the job; the result has no report yet."""
        quantized, mixed, bits, packed = job.run()
        return QuantizedDetector(
            quantized=quantized, mixed=mixed, bits=bits, report={}, config=job.config, plan=self.plan,
            observer=self.observer, spec=self.detector.spec, preprocessing=self.detector.preprocessing,
            packed=packed,
        )  # fmt: skip


def prepare_request(
    detector: Detector,
    calibration: CalibrationSet,
    config: DefakeQConfig,
    *,
    device: torch.device,
    test_set: LabelledSet | None = None,
    hardware: HardwareCosts | None = None,
    cache_bytes: int = DEFAULT_CACHE_BYTES,
    on_progress: ProgressCallback = silent,
) -> QuantizationRequest:
    """Copy the float detector, trace and prepare the copy, and look up its costs on the chip.

    Raises:
        UserError: test and calibration images overlap, the detector cannot be quantized, or ``hardware``
            holds the costs of another one.
    """
    if test_set is not None:
        refuse_shared(calibration.samples, test_set.samples)
    count = len(calibration.images)
    if count < config.samples:
        _LOG.warning("%d calibration images, fewer than the %d asked for", count, config.samples)
    if detector.untrained:
        _LOG.warning("%s has random weights: every metric of this run is meaningless", detector.name)
    require_agreement(detector, calibration.images)
    reference, plan, observer = prepare_float(detector, calibration.images[:1], config.keep_float)
    observer = replace(observer, output=settled_output(observer.output, reference, calibration.images))
    calibration = _without_outlying(calibration, reference, plan)
    if config.equalize_layernorm and config.activation_bits is not None:
        equalize_norms_(
            reference, [layer.name for layer in plan.layers], plan.head,
            calibration.images.split(FORWARD_BATCH), 2**config.activation_bits, observer,
        )  # fmt: skip
    if config.target == "fpga":
        for name, mode in paddings_of_values(reference, (layer.name for layer in plan.layers)).items():
            _LOG.warning(
                "%s: %s padding has no form on an FPGA, and --format finn refuses the run", name, mode
            )
    if hardware is not None:
        shapes = {layer.name: layer.weight_shape for layer in plan.layers}
        hardware = hardware.of_layers(shapes, (*config.candidate_bits, *config.haq.pinned.values()))
    return QuantizationRequest(
        detector=detector, calibration=calibration, test_set=test_set, config=config, reference=reference,
        plan=plan, observer=observer, hardware=hardware, cache_bytes=cache_bytes, device=device,
        on_progress=on_progress,
    )  # fmt: skip


def _without_outlying(calibration: CalibrationSet, reference: nn.Module, plan: Plan) -> CalibrationSet:
    modules = dict(reference.named_modules())
    layers = {layer.name: modules[layer.name] for layer in plan.layers}
    reasons = outlying_images(reference, layers, calibration.images)
    if not reasons or len(calibration.images) - len(reasons) < MINIMUM_SAMPLES:
        return calibration
    kept = calibration.without(reasons)
    _LOG.warning("%d calibration images left out: %s", len(reasons), kept.outlying[0])
    return kept
