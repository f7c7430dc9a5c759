"""The calibration images of a run, from a data source or from tensors."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from brevitas_defakeq.config import DEFAULT_SAMPLES, FORWARD_BATCH, MINIMUM_SAMPLES, DefakeQConfig
from brevitas_defakeq.data.calibration import choose_calibration
from brevitas_defakeq.data.image_batches import iterate_batches
from brevitas_defakeq.data.selection import Selection
from brevitas_defakeq.data.sources import Sample, data_hash, read_source
from brevitas_defakeq.detectors.resolve import Detector
from brevitas_defakeq.imaging.image_files import usable
from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.resume import tensor_digest
from brevitas_defakeq.run_inputs import require_preprocessing
from brevitas_defakeq.utils.errors import UserError

_TRAINING = Selection(split="train")


@dataclass(frozen=True, kw_only=True)
class CalibrationSet:
    """Calibration images and their source.

    Attributes:
        images: preprocessed, [M, 3, H, W].
        labels: 0 real, 1 fake, [M], or None.
        files: their paths; empty for tensors.
        hash: SHA-256 of the images.
        skipped: unreadable files that were left out.
        outlying: images that were left out for what the detector does on them, with the reason.
    """

    images: Tensor
    labels: Tensor | None
    files: tuple[str, ...]
    hash: str
    skipped: tuple[str, ...] = ()
    outlying: tuple[str, ...] = ()

    def without(self, reasons: Mapping[int, str]) -> "CalibrationSet":
        """The set without the images of these indices."""
        kept = [index for index in range(len(self.images)) if index not in reasons]
        names = self.files or tuple(f"image {index}" for index in range(len(self.images)))
        return replace(
            self,
            images=self.images[kept],
            labels=None if self.labels is None else self.labels[kept],
            files=tuple(self.files[index] for index in kept) if self.files else (),
            outlying=tuple(f"{names[index]}: {reason}" for index, reason in reasons.items()),
        )

    @property
    def samples(self) -> list[Sample]:
        """One sample per file; none for tensors."""
        return [Sample(Path(file), None, file, "") for file in self.files]


def calibration_set(
    calibration: Tensor | Iterable[Tensor] | str | Path | Sequence[Sample],
    labels: Tensor | None,
    detector: Detector,
    config: DefakeQConfig,
    on_corrupt: str,
) -> CalibrationSet:
    """At most ``config.samples`` images, from tensors (with their labels) or from a data source.

    Raises:
        UserError: too few images, unusable tensors, or a source for a detector without preprocessing.
    """
    if isinstance(calibration, str | Path):
        source: str | Path | Sequence[Sample] = calibration
    elif isinstance(calibration, Sequence) and calibration and isinstance(calibration[0], Sample):
        source = calibration
    else:
        return from_tensors(cast(Iterable[Tensor], calibration), labels, config.samples)
    preprocessing = require_preprocessing(detector)
    return from_source(source, preprocessing, config.samples, seed=config.seed, on_corrupt=on_corrupt)


def from_source(
    source: str | Path | Sequence[Sample],
    preprocessing: Preprocessing,
    count: int,
    *,
    seed: int,
    on_corrupt: str,
) -> CalibrationSet:
    """Choose ``count`` images of a source (seeded, balanced; a benchmark's training split) and load them.

    Raises:
        UserError: fewer than eight usable images, or a broken one with ``on_corrupt="refuse"``.
    """
    samples = read_source(source, _TRAINING) if isinstance(source, str | Path) else source
    chosen, skipped = usable(choose_calibration(samples, count, seed=seed), on_corrupt=on_corrupt)
    if len(chosen) < MINIMUM_SAMPLES:
        raise UserError(
            f"{len(chosen)} usable calibration images; give at least {MINIMUM_SAMPLES}, "
            f"better {DEFAULT_SAMPLES}"
        )
    images = torch.cat(list(iterate_batches(chosen, preprocessing, FORWARD_BATCH)))
    known = [sample.label for sample in chosen]
    labels = None if None in known else torch.tensor(known)
    files = tuple(sample.path.as_posix() for sample in chosen)
    return CalibrationSet(
        images=images, labels=labels, files=files, hash=data_hash(chosen), skipped=tuple(map(str, skipped))
    )


def from_tensors(images: Tensor | Iterable[Tensor], labels: Tensor | None, count: int) -> CalibrationSet:
    """Preprocessed images as one tensor or as batches [N, 3, H, W]; the first ``count`` are used."""
    images = images if isinstance(images, Tensor) else torch.cat(list(images))
    images = images[:count].float()
    images = images.clone() if images.is_inference() else images  # autograd keeps no such tensor
    if images.dim() != 4 or len(images) < MINIMUM_SAMPLES:
        shape = "x".join(map(str, images.shape))
        raise UserError(f"calibration tensor of shape {shape}: give [N, 3, H, W] with N >= {MINIMUM_SAMPLES}")
    if not images.isfinite().all():
        raise UserError("the calibration tensor holds values that are not finite")
    labels = None if labels is None else torch.as_tensor(labels)[:count].long()
    if labels is not None and (labels.shape != images.shape[:1] or not ((labels == 0) | (labels == 1)).all()):
        raise UserError(f"labels: give 0 (real) or 1 (fake) for each of the {len(images)} images")
    return CalibrationSet(images=images, labels=labels, files=(), hash=tensor_digest({"images": images}))
