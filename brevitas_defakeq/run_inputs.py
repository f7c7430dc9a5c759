"""The arguments of a run, checked and loaded: device, detector and labelled data."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from brevitas_defakeq.data.labelled_set import LabelledSet
from brevitas_defakeq.data.sources import Sample
from brevitas_defakeq.detectors.output import OutputSpec
from brevitas_defakeq.detectors.plain_module import plain_module
from brevitas_defakeq.detectors.resolve import Detector
from brevitas_defakeq.imaging.image_files import usable
from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.utils.errors import UserError


def found_device(name: str) -> torch.device:
    """The device "cpu" or "cuda". Raises UserError for any other, and where there is no CUDA device."""
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device={name!r} is not known; give cpu or cuda") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device={name!r}: quantization runs on cpu or cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device={name!r}: this torch sees no CUDA device; leave --device out")
    return device


def as_detector(
    detector: nn.Module | Detector,
    preprocessing: Preprocessing | None,
    output: OutputSpec | None,
    feature: str | None,
) -> Detector:
    """A plain module as a ``Detector`` with these settings; a ``Detector`` with its own."""
    if isinstance(detector, Detector):
        return replace(detector, model=plain_module(detector.model))
    detector = plain_module(detector)
    name = type(detector).__name__
    feature = feature or getattr(detector, "feature_module", None)
    spec = {"kind": "module", "name": f"{type(detector).__module__}.{name}"}
    return Detector(detector, name, preprocessing, output or OutputSpec(), feature, spec, None)


def require_preprocessing(detector: Detector) -> Preprocessing:
    """How the detector takes images from files. Raises UserError where that is not known."""
    if detector.preprocessing is None:
        raise UserError(
            "images from files need preprocessing=Preprocessing(input_size=..., mean=..., std=...)"
        )
    return detector.preprocessing


def labelled_set(
    source: str | Path | Sequence[Sample] | LabelledSet, detector: Detector, on_corrupt: str
) -> LabelledSet:
    """Labelled data, its images decoded once: a broken one is found before a long run and not after it.

    Raises:
        UserError: a label is missing, or an image is broken and ``on_corrupt`` is "refuse".
    """
    if isinstance(source, LabelledSet):
        return source
    preprocessing = require_preprocessing(detector)
    listed = LabelledSet.from_source(source, preprocessing)
    kept, _ = usable(listed.samples, on_corrupt=on_corrupt)
    return LabelledSet.from_source(kept, preprocessing)
