"""What ``defakeq evaluate`` looks at: forms of a run, or an exported file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from brevitas_defakeq.imaging.crop import Crop
from brevitas_defakeq.progress import ProgressCallback
from brevitas_defakeq.utils.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from brevitas_defakeq.artifact import QuantizedDetector
    from brevitas_defakeq.data.open_source import SourceSamples


@dataclass(frozen=True)
class RunSubject:
    """Forms of a run; with "float" among them its checkpoint is loaded."""

    run: QuantizedDetector
    which: tuple[str, ...]
    float_model: nn.Module | None

    @classmethod
    def of(cls, folder: Path, which: tuple[str, ...], weights: Sequence[Path] | None) -> RunSubject:
        from brevitas_defakeq.artifact import load, load_float

        run = load(folder)
        return cls(run, which, load_float(run, weights) if "float" in which else None)

    @property
    def crop(self) -> Crop | None:
        """How its faces are cut out, if the run knows."""
        known = self.run.report["detector"].get("crop")
        return None if known is None else Crop(**known)

    def figures(
        self,
        data: SourceSamples,
        *,
        convention: str,
        scores: Path | None,
        workers: int,
        on_progress: ProgressCallback,
    ) -> dict:
        """As ``evaluate_forms``."""
        from brevitas_defakeq.evaluate.run import evaluate_forms

        return evaluate_forms(
            self.run, data.samples, self.which, float_model=self.float_model, no_face=data.no_face,
            convention=convention, scores=scores, workers=workers, on_progress=on_progress,
        )  # fmt: skip

    def curves(self, data: SourceSamples, names, levels, **options) -> dict:
        """As ``robustness``."""
        from brevitas_defakeq.evaluate.robustness import robustness

        return robustness(
            self.run, data.samples, names, levels, self.float_model, which=self.which, **options
        )


@dataclass(frozen=True)
class FileSubject:
    """An exported file, and the float file that it is compared with."""

    file: Path
    against: Path | None
    threads: int | None

    def __post_init__(self) -> None:
        if not self.file.is_file():
            raise UserError(f"{self.file} does not exist; give a model.onnx that `defakeq export` wrote")

    @property
    def crop(self) -> Crop | None:
        """How its faces are cut out, if the card says so."""
        from brevitas_defakeq.runtime.card import Card, card_beside

        known = Card.read(card_beside(self.file)).input
        return None if known.crop is None else Crop(known.crop, known.crop_margin or 0.0)

    def figures(
        self,
        data: SourceSamples,
        *,
        convention: str,
        scores: Path | None,
        workers: int,
        on_progress: ProgressCallback,
    ) -> dict:
        """As ``evaluate_exported``, which reads in turn whatever ``workers`` are."""
        from brevitas_defakeq.evaluate.exported import evaluate_exported

        return evaluate_exported(
            self.file, data.samples, threads=self.threads, against=self.against, no_face=data.no_face,
            convention=convention, scores=scores, on_progress=on_progress,
        )  # fmt: skip

    def curves(self, data: SourceSamples, names, levels, **options) -> dict:
        """As ``robustness``."""
        from brevitas_defakeq.evaluate.robustness import robustness

        return robustness(self.file, data.samples, names, levels, against=self.against, **options)
