"""``defakeq demo``: the main job on the detector and the drawn faces that the package ships.

The detector knows drawn faces, not photographs.
"""

import os
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from brevitas_defakeq.api import quantize
from brevitas_defakeq.config import DefakeQConfig
from brevitas_defakeq.data.image_batches import preprocess
from brevitas_defakeq.data.procedural import FAMILIES, HELD_OUT_FAMILIES, DrawnFace, draw_many
from brevitas_defakeq.detectors.resolve import resolve
from brevitas_defakeq.evaluate.labelled import LabelledSet
from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.progress import ProgressCallback, silent

CALIBRATION_IMAGES = 256
#: Images of the forgery families that training and calibration saw, and of the two that they did not.
TEST_IMAGES, CROSS_IMAGES = 2000, 500
_WORKERS = os.cpu_count() or 1
_CALIBRATION_SEED, _TEST_SEED, _CROSS_SEED = 11, 22, 33


def run_demo(
    out: Path, *, average_bits: float = 3.0, seed: int = 0, on_progress: ProgressCallback = silent
) -> dict:
    """Quantize the shipped detector and report on 2,500 drawn faces; returns the report.

    The report's ``per_dataset`` tells "in domain" (known forgery families) from "cross domain" (others).
    """
    detector = resolve("demo")
    on_progress("draw", 0, 1)
    images, labels = drawn_calibration(detector.preprocessing, CALIBRATION_IMAGES)
    config = DefakeQConfig.for_recipe("best", average_bits=average_bits, seed=seed)
    test = drawn_test(detector.preprocessing)
    result = quantize(detector, images, config, labels=labels, test=test, out=out, on_progress=on_progress)
    return result.report


def drawn_calibration(preprocessing: Preprocessing, count: int) -> tuple[Tensor, Tensor]:
    """The first drawn calibration faces and their labels."""
    return as_tensors(draw_many(count, seed=_CALIBRATION_SEED, workers=_WORKERS), preprocessing)


def drawn_test(
    preprocessing: Preprocessing, *, in_domain=TEST_IMAGES, cross_domain=CROSS_IMAGES
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
