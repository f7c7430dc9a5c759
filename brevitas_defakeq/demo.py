"""``defakeq demo``: quantize the shipped detector on drawn faces, and report on others.

The detector was trained on drawn faces, not on photographs.
"""

import os
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from brevitas_defakeq.api import quantize
from brevitas_defakeq.config import DEFAULT_AVERAGE_BITS, DEFAULT_SAMPLES, DefakeQConfig
from brevitas_defakeq.data.image_batches import preprocess
from brevitas_defakeq.data.labelled_set import LabelledSet
from brevitas_defakeq.data.procedural import FAMILIES, HELD_OUT_FAMILIES, DrawnFace, draw_many
from brevitas_defakeq.detectors.resolve import resolve
from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.progress import ProgressCallback, silent
from brevitas_defakeq.run_inputs import require_preprocessing

#: Images of the forgery families used in training and calibration, and of the two others.
TEST_IMAGES, CROSS_IMAGES = 2000, 500
_WORKERS = os.cpu_count() or 1
_CALIBRATION_SEED, _TEST_SEED, _CROSS_SEED = 11, 22, 33


def run_demo(
    out: Path,
    *,
    average_bits: float = DEFAULT_AVERAGE_BITS,
    seed: int = 0,
    on_progress: ProgressCallback = silent,
) -> dict:
    """Quantize the shipped detector and report on 2,500 drawn faces; returns the report.

    The report's ``per_dataset`` separates "in domain" (known forgery families) and "cross domain" (others).
    """
    detector = resolve("demo")
    preprocessing = require_preprocessing(detector)
    on_progress("draw", 0, 1)
    images, labels = drawn_calibration(preprocessing, DEFAULT_SAMPLES)
    config = DefakeQConfig.for_recipe("best", average_bits=average_bits, seed=seed)
    test = drawn_test(preprocessing)
    result = quantize(detector, images, config, labels=labels, test=test, out=out, on_progress=on_progress)
    return result.report


def drawn_calibration(preprocessing: Preprocessing, count: int) -> tuple[Tensor, Tensor]:
    """The first ``count`` drawn calibration faces [count, 3, H, W] and their labels [count]."""
    return as_tensors(draw_many(count, seed=_CALIBRATION_SEED, workers=_WORKERS), preprocessing)


def drawn_test(
    preprocessing: Preprocessing, *, in_domain: int = TEST_IMAGES, cross_domain: int = CROSS_IMAGES
) -> LabelledSet:
    """Drawn test faces, half real: known forgery families, then the two held-out ones."""
    known = draw_many(in_domain, seed=_TEST_SEED, families=FAMILIES, workers=_WORKERS)
    unknown = draw_many(cross_domain, seed=_CROSS_SEED, families=HELD_OUT_FAMILIES, workers=_WORKERS)
    images, labels = as_tensors([*known, *unknown], preprocessing)
    datasets = ["in domain"] * len(known) + ["cross domain"] * len(unknown)
    return LabelledSet.from_tensors(images, labels, datasets)


def as_tensors(faces: list[DrawnFace], preprocessing: Preprocessing) -> tuple[Tensor, Tensor]:
    """Preprocessed images [N, 3, H, W] and labels [N]."""
    images = torch.stack([preprocess(Image.fromarray(face.image), preprocessing) for face in faces])
    return images, torch.tensor([face.label for face in faces])
