"""The drawn faces that the suite calibrates and tests with, drawn once and kept in the cache folder."""

import functools
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.train_demo import normalised
from brevitas_defakeq.data.labelled_set import LabelledSet
from brevitas_defakeq.data.procedural import FAMILIES, HELD_OUT_FAMILIES, draw, draw_many
from brevitas_defakeq.detectors.demo_detector import DEMO_PREPROCESSING, DEMO_TRAINING_SEED
from brevitas_defakeq.utils.files import written_whole

_CALIBRATION_SEED, _TEST_SEED, _UNKNOWN_SEED, _CHOICE_SEED = 41_000, 42_000, 43_000, 44_000
assert _CHOICE_SEED < DEMO_TRAINING_SEED, "the detectors have seen the faces from there on"


@dataclass(frozen=True)
class TestSize:
    """Drawn test images: of the forgery families used in training, and of the families kept out."""

    in_domain: int
    held_out: int


QUICK, FULL = TestSize(1000, 200), TestSize(4000, 1000)


def calibration_faces(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images [count, 3, 128, 128] and labels [count]; another seed draws other faces."""
    return _drawn(count, _CALIBRATION_SEED + seed, FAMILIES)


@functools.cache
def faces_to_test_with(size: TestSize) -> LabelledSet:
    """Data sets "in domain" and "held out"."""
    images, labels = _drawn(size.in_domain, _TEST_SEED, FAMILIES)
    others, their_labels = _drawn(size.held_out, _UNKNOWN_SEED, HELD_OUT_FAMILIES)
    datasets = ["in domain"] * len(images) + ["held out"] * len(others)
    return LabelledSet.from_tensors(torch.cat([images, others]), torch.cat([labels, their_labels]), datasets)


def face_tested(index: int) -> np.ndarray:
    """One of the first test images, [128, 128, 3] uint8."""
    return draw(index, seed=_TEST_SEED, families=FAMILIES).image


@functools.cache
def faces_to_choose_with() -> LabelledSet:
    """1,000 faces that no table reports."""
    return LabelledSet.from_tensors(*_drawn(1000, _CHOICE_SEED, FAMILIES))


def _drawn(count: int, seed: int, families: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    key = hashlib.sha256(f"{count} {seed} {families} {DEMO_PREPROCESSING}".encode()).hexdigest()[:16]
    file = cache_folder() / f"drawn-{key}.npz"
    if not file.exists():
        faces = draw_many(count, seed=seed, families=families, workers=os.cpu_count() or 1)
        with written_whole(file) as temporary, temporary.open("wb") as stream:
            images = np.stack([face.image for face in faces])
            np.savez(stream, images=images, labels=np.array([face.label for face in faces]))
    with np.load(file) as stored:
        return normalised(stored["images"]).contiguous(), torch.from_numpy(stored["labels"])


def cache_folder() -> Path:
    """Where drawn faces and other tools' environments are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "brevitas_defakeq" / "benchmarks"
