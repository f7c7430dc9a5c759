"""A labelled data set to report on: from files or from tensors, read in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from brevitas_defakeq.config import FORWARD_BATCH
from brevitas_defakeq.data.image_batches import iterate_batches
from brevitas_defakeq.data.sources import Sample, read_source
from brevitas_defakeq.imaging.image_files import Read, read_sample
from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.utils.errors import UserError


@dataclass(frozen=True)
class LabelledSet:
    """Samples with both labels, and their preprocessed images in the same order."""

    samples: Sequence[Sample]
    batches: Callable[[], Iterable[Tensor]]

    @classmethod
    def from_source(
        cls,
        source: str | Path | Sequence[Sample],
        preprocessing: Preprocessing,
        *,
        read: Read = read_sample,
        workers: int = 2,
    ) -> LabelledSet:
        """A folder with ``real/`` and ``fake/``, a CSV, or samples; ``workers`` threads read ahead."""
        samples = labelled_samples(source)
        return cls(
            samples,
            lambda: iterate_batches(samples, preprocessing, FORWARD_BATCH, workers=workers, read=read),
        )

    @classmethod
    def from_tensors(
        cls, images: Tensor, labels: Sequence[int] | Tensor, datasets: Sequence[str] | None = None
    ) -> LabelledSet:
        """Preprocessed images [N, 3, H, W] with labels [N] (0 real, 1 fake) and names of data sets."""
        names = datasets or ["test"] * len(images)
        if not len(images) == len(labels) == len(names):
            raise UserError(
                f"{len(images)} images, {len(labels)} labels, {len(names)} names of data sets: give one each"
            )
        samples = [
            Sample(Path(str(index)), int(label), str(index), name)
            for index, (label, name) in enumerate(zip(labels, names, strict=True))
        ]
        check_labelled(samples, "the test tensors")
        return cls(samples, lambda: torch.split(images, FORWARD_BATCH))


def labelled_samples(source: str | Path | Sequence[Sample]) -> Sequence[Sample]:
    """The samples of a source; raises UserError where a class or a label is missing."""
    if isinstance(source, str | Path):
        samples: Sequence[Sample] = read_source(source)
        check_labelled(samples, source)
    else:
        samples = source
        check_labelled(samples, "the test data")
    return samples


def check_labelled(samples: Sequence[Sample], source: object) -> None:
    """Raise UserError unless every image has a label and both classes are there."""
    labels = {sample.label for sample in samples}
    if labels != {0, 1}:
        only = ", ".join(sorted(str(label) for label in labels if label is not None))
        found = f"only the label {only}" if only and None not in labels else "images without a label"
        raise UserError(
            f"{source}: {found}, but an AUC needs real and fake images; give a folder with real/ and fake/ "
            "or a CSV with both labels"
        )
