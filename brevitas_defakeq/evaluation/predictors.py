"""What is evaluated: variants of a run (torch modules), or exported files (onnxruntime)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from PIL import Image
from torch import nn

from brevitas_defakeq.config import FORWARD_BATCH
from brevitas_defakeq.data.image_batches import iterate_batches
from brevitas_defakeq.data.labelled_set import LabelledSet
from brevitas_defakeq.data.sources import Sample
from brevitas_defakeq.evaluation.predict import BatchOutput, Outputs, model_outputs
from brevitas_defakeq.float_reference import as_planned
from brevitas_defakeq.imaging.crop import Crop
from brevitas_defakeq.imaging.image_files import Read, read_sample
from brevitas_defakeq.runtime.exported_detector import ExportedDetector
from brevitas_defakeq.runtime.model_input import batches, model_input
from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.variants import VARIANTS

if TYPE_CHECKING:
    from brevitas_defakeq.artifact import QuantizedDetector


class Predictor(Protocol):
    """Variants of one detector that score the same images; what evaluation needs to know of them."""

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Variant -> its decision threshold on the fake logit."""

    @property
    def crop(self) -> Crop | None:
        """How faces are cut out for the detector, if known."""

    def outputs(
        self, samples: Sequence[Sample], read: Read = read_sample, workers: int = 2
    ) -> Iterator[Outputs]:
        """Outputs of all variants, batch by batch; ``read`` gives a sample's image, 8-bit RGB."""


@dataclass(frozen=True)
class RunPredictor:
    """Variants of a run as torch modules, by name; in reports they come in the order of ``VARIANTS``."""

    run: QuantizedDetector
    models: Mapping[str, nn.Module]

    @classmethod
    def of(
        cls,
        run: str | Path | QuantizedDetector,
        variants: Sequence[str],
        float_model: nn.Module | None = None,
    ) -> RunPredictor:
        """From a run or its folder. UserError for unknown variants, and for "float" without its model."""
        unknown = [name for name in variants if name not in VARIANTS]
        if unknown or not variants:
            raise UserError(f"variant {(unknown or [''])[0]!r}: choose quantized, mixed or float")
        if isinstance(run, str | Path):
            from brevitas_defakeq.artifact import load

            run = load(run)
        known = {"quantized": run.quantized, "mixed": run.mixed}
        if float_model is not None:
            known["float"] = as_planned(float_model, run.plan)
        elif "float" in variants:
            raise UserError("a run holds no float weights; give float_model=")
        return cls(run, {name: known[name] for name in VARIANTS if name in variants})

    @property
    def thresholds(self) -> Mapping[str, float]:
        return self.run.report["threshold"]

    @property
    def crop(self) -> Crop | None:
        known = self.run.report["detector"].get("crop")
        return None if known is None else Crop(**known)

    def outputs(
        self, samples: Sequence[Sample], read: Read = read_sample, workers: int = 2
    ) -> Iterator[Outputs]:
        """Logits and features; ``workers`` threads read ahead. UserError for a run made from tensors."""
        how = self.run.preprocessing
        if how is None:
            raise UserError("this run was made from tensors and knows no preprocessing; give a LabelledSet")
        return model_outputs(
            self.models,
            self.run.observer,
            iterate_batches(samples, how, FORWARD_BATCH, workers=workers, read=read),
        )

    def outputs_of(self, data: LabelledSet) -> Iterator[Outputs]:
        """Logits and features of preprocessed images."""
        return model_outputs(self.models, self.run.observer, data.batches())


@dataclass(frozen=True)
class FilePredictor:
    """Exported files by variant: "exported", and "float" where it is compared with one."""

    detectors: Mapping[str, ExportedDetector]

    @classmethod
    def of(
        cls, model: str | Path, against: str | Path | None = None, threads: int | None = None
    ) -> FilePredictor:
        """From a ``model.onnx`` and an exported float one; ``threads`` as ``ExportedDetector`` takes them."""
        files = {"exported": model} | ({"float": against} if against else {})
        return cls({name: ExportedDetector(file, threads=threads) for name, file in files.items()})

    @property
    def thresholds(self) -> Mapping[str, float]:
        return {name: detector.card.threshold for name, detector in self.detectors.items()}

    @property
    def crop(self) -> Crop | None:
        known = self.detectors["exported"].card.input
        return None if known.crop is None else Crop(known.crop, known.crop_margin or 0.0)

    def outputs(
        self, samples: Sequence[Sample], read: Read = read_sample, workers: int = 2
    ) -> Iterator[Outputs]:
        """Logits; images are read in place whatever ``workers`` is: onnxruntime has threads of its own."""
        for start in range(0, len(samples), FORWARD_BATCH):
            images = [read(sample) for sample in samples[start : start + FORWARD_BATCH]]
            yield {name: BatchOutput(_logits(each, images)) for name, each in self.detectors.items()}


def _logits(detector: ExportedDetector, images: Sequence[Image.Image]) -> np.ndarray:
    """Fake logits, float64 [n]; each detector prepares the images by its own card."""
    inputs = (model_input(image, detector.card.input) for image in images)
    return np.concatenate([detector.logits(batch) for batch in batches(inputs, FORWARD_BATCH)])
