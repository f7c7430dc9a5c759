"""The calibration images of a run, from a data source or from tensors."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from brevitas_defakeq.data.calibration import choose_calibration
from brevitas_defakeq.data.image_batches import iterate_batches
from brevitas_defakeq.data.selection import Selection
from brevitas_defakeq.data.sources import Sample, data_hash, read_source
from brevitas_defakeq.imaging.image_files import usable
from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.resume import tensor_digest
from brevitas_defakeq.utils.errors import UserError

_MINIMUM = 8
_TRAINING = Selection(split="train")


@dataclass(frozen=True)
class CalibrationSet:
    """Images [M, 3, H, W] as the detector takes them, labels 0/1 [M] or None, and where they come from."""

    images: Tensor
    labels: Tensor | None
    files: tuple[str, ...]
    hash: str
    skipped: tuple[str, ...] = ()

    @property
    def samples(self) -> list[Sample]:
        """The files, as far as the images come from files."""
        return [Sample(Path(file), None, file, "") for file in self.files]


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
    if len(chosen) < _MINIMUM:
        raise UserError(f"{len(chosen)} usable calibration images; give at least {_MINIMUM}, better 256")
    images = torch.cat(list(iterate_batches(chosen, preprocessing, 32)))
    known = [sample.label for sample in chosen]
    labels = None if None in known else torch.tensor(known)
    files = tuple(sample.path.as_posix() for sample in chosen)
    return CalibrationSet(images, labels, files, data_hash(chosen), tuple(map(str, skipped)))


def from_tensors(images: Tensor | Iterable[Tensor], labels: Tensor | None, count: int) -> CalibrationSet:
    """Preprocessed images as one tensor or as batches [N, 3, H, W]; the first ``count`` are used."""
    images = images if isinstance(images, Tensor) else torch.cat(list(images))
    images = images[:count].float()
    if images.dim() != 4 or len(images) < _MINIMUM:
        shape = "x".join(map(str, images.shape))
        raise UserError(f"calibration tensor of shape {shape}: give [N, 3, H, W] with N >= {_MINIMUM}")
    if not images.isfinite().all():
        raise UserError("the calibration tensor holds values that are not finite")
    labels = None if labels is None else torch.as_tensor(labels)[:count].long()
    if labels is not None and (labels.shape != images.shape[:1] or not ((labels == 0) | (labels == 1)).all()):
        raise UserError(f"labels: give 0 (real) or 1 (fake) for each of the {len(images)} images")
    return CalibrationSet(images, labels, (), tensor_digest({"images": images}))
