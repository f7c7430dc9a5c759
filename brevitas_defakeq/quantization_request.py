"""What one call of ``quantize`` is about, made ready: detector, images, and how its parts are read."""

from dataclasses import asdict, dataclass, field

import torch
from torch import nn

from brevitas_defakeq.artifact import QuantizedDetector
from brevitas_defakeq.calibration_set import CalibrationSet
from brevitas_defakeq.config import DefakeQConfig
from brevitas_defakeq.detectors.observer import Observer
from brevitas_defakeq.detectors.resolve import Detector
from brevitas_defakeq.evaluation.labelled_set import LabelledSet
from brevitas_defakeq.float_reference import prepare_float
from brevitas_defakeq.haq.hardware_costs import HardwareCosts
from brevitas_defakeq.pipeline import Job
from brevitas_defakeq.prepare.plan import Plan
from brevitas_defakeq.progress import ProgressCallback
from brevitas_defakeq.resume import Checkpoint, tensor_digest


@dataclass
class QuantizationRequest:
    """A detector, its calibration and test images, M_f (prepared) with its plan, and the settings."""

    detector: Detector
    images: CalibrationSet
    tests: LabelledSet | None
    config: DefakeQConfig
    cache_bytes: int
    device: torch.device
    on_progress: ProgressCallback
    hardware: HardwareCosts | None = None
    reference: nn.Module = field(init=False)
    plan: Plan = field(init=False)
    observer: Observer = field(init=False)

    def __post_init__(self) -> None:
        prepared = prepare_float(self.detector, self.images.images[:1])
        self.reference, self.plan, self.observer = prepared
        if self.hardware is not None:
            shapes = {layer.name: layer.weight_shape for layer in self.plan.layers}
            widths = (*self.config.candidate_bits, *self.config.haq.pinned.values())
            self.hardware = self.hardware.of_layers(shapes, widths)

    def identity(self) -> dict:
        """All that decides the result."""
        preprocessing = self.detector.preprocessing
        return {
            "config": self.config.to_dict(), "detector": self.detector.spec, "calibration": self.images.hash,
            "weights": tensor_digest(self.reference.state_dict()),
            "labels": None if self.images.labels is None else self.images.labels.tolist(),
            "preprocessing": preprocessing.to_dict() if preprocessing else None,
            "observer": asdict(self.observer),
            **({"costs": self.hardware.digest} if self.hardware else {}),
        }  # fmt: skip

    def job(self, checkpoint: Checkpoint) -> Job:
        """Algorithm 1 on it, not yet run."""
        return Job(
            self.reference, self.plan, self.images.images, self.images.labels, self.observer, self.config,
            checkpoint, self.on_progress, self.cache_bytes, self.device, self.hardware,
        )  # fmt: skip

    def carry_out(self, job: Job) -> QuantizedDetector:
        """Run the job; the result has no report yet."""
        quantized, mixed, bits, packed = job.run()
        return QuantizedDetector(
            quantized, mixed, bits, {}, job.config, self.plan, self.observer, self.detector.spec,
            self.detector.preprocessing, packed,
        )  # fmt: skip
