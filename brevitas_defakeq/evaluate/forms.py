"""Forms of one detector that are scored together: modules of a run, or exported files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from brevitas_defakeq.data.image_batches import iterate_batches
from brevitas_defakeq.data.sources import Sample
from brevitas_defakeq.evaluate.observe import Observer, Seen, look
from brevitas_defakeq.imaging.image_files import Read, read_sample
from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.runtime.exported_detector import ExportedDetector
from brevitas_defakeq.runtime.model_input import batches, model_input
from brevitas_defakeq.utils.errors import UserError

if TYPE_CHECKING:
    from brevitas_defakeq.artifact import QuantizedDetector

#: Forms of a run, the one that most want to know first.
FORMS = ("quantized", "mixed", "float")
BATCH = 16


@dataclass(frozen=True)
class RunForms:
    """Modules by form, how they are read and fed, and the decision threshold of each."""

    models: Mapping[str, nn.Module]
    observer: Observer
    preprocessing: Preprocessing | None
    thresholds: Mapping[str, float]

    @classmethod
    def of(
        cls, run: str | Path | QuantizedDetector, which: Sequence[str], float_model: nn.Module | None
    ) -> RunForms:
        """Forms of a run or its folder. UserError for unknown ones, and for float without weights."""
        unknown = [form for form in which if form not in FORMS]
        if unknown or not which:
            raise UserError(f"which={(unknown or [''])[0]!r}: choose quantized, mixed or float")
        if "float" in which and float_model is None:
            raise UserError("a run holds no float weights; give float_model=")
        if isinstance(run, str | Path):
            from brevitas_defakeq.artifact import load

            run = load(run)
        ordered = [form for form in FORMS if form in which]
        models = {form: float_model.eval() if form == "float" else getattr(run, form) for form in ordered}
        return cls(models, run.observer, run.preprocessing, run.report["threshold"])

    def feeding(self) -> Preprocessing:
        """The preprocessing, where the run knows one."""
        if self.preprocessing is None:
            raise UserError("this run was made from tensors and knows no preprocessing; give a LabelledSet")
        return self.preprocessing

    def look(self, samples: Sequence[Sample], read: Read = read_sample, workers: int = 2) -> Iterator[Seen]:
        """Logits and features of the samples' pictures, batch by batch."""
        read_ahead = iterate_batches(samples, self.feeding(), BATCH, workers=workers, read=read)
        return look(self.models, self.observer, read_ahead)


@dataclass(frozen=True)
class FileForms:
    """Exported files by form, run by onnxruntime as a device runs them; their cards say all else."""

    detectors: Mapping[str, ExportedDetector]

    @classmethod
    def of(
        cls, model: str | Path, against: str | Path | None = None, threads: int | None = None
    ) -> FileForms:
        """A ``model.onnx`` as "exported", and the float one that it is compared with as "float"."""
        files = {"exported": model} | ({"float": against} if against else {})
        return cls({form: ExportedDetector(file, threads=threads) for form, file in files.items()})

    @property
    def thresholds(self) -> dict[str, float]:
        return {form: detector.card.threshold for form, detector in self.detectors.items()}

    def look(self, samples: Sequence[Sample], read: Read = read_sample, workers: int = 2) -> Iterator[Seen]:
        """Logits of the samples' pictures, batch by batch; read in turn, onnxruntime has its own threads."""
        for start in range(0, len(samples), BATCH):
            pictures = [read(sample) for sample in samples[start : start + BATCH]]
            yield {form: (self._logits(form, pictures), None) for form in self.detectors}

    def _logits(self, form: str, pictures: list) -> np.ndarray:
        detector = self.detectors[form]
        inputs = (model_input(picture, detector.card.input) for picture in pictures)
        return np.concatenate([detector.logits(batch) for batch in batches(inputs, BATCH)])
