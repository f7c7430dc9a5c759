"""What a row is measured on: a detector, its calibration images and its test images."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.measures import by_dataset
from benchmarks.real_detectors import DETECTORS, fair_pairs
from benchmarks.suite.faces import FULL, TestSize, calibration_faces, faces_to_test_with
from benchmarks.vehicles import detector as drawn_faces_detector
from brevitas_defakeq.calibration_set import CalibrationSet, from_source, from_tensors
from brevitas_defakeq.data.labelled_set import LabelledSet
from brevitas_defakeq.data.sources import read_source
from brevitas_defakeq.detectors.resolve import Detector
from brevitas_defakeq.imaging.sample import Sample
from brevitas_defakeq.run_inputs import require_preprocessing
from brevitas_defakeq.utils.errors import UserError

#: Detectors of which one image takes a fraction of a second: tested on few images of each data set.
SLOW = ("clip",)
_FEW = 40


@dataclass(frozen=True)
class Material:
    """A detector with images; ``parts`` are masks [N] of the test images by name, each with both labels."""

    detector: Detector
    calibration: CalibrationSet
    test: LabelledSet
    parts: dict[str, np.ndarray]

    @property
    def labels(self) -> np.ndarray:
        """[N], 1 = fake."""
        return np.array([sample.label for sample in self.test.samples])


def material(vehicle: str, *, samples: int, seed: int, size: TestSize, data: Path | None) -> Material:
    """Drawn faces for the detectors that know them, photographs of ``data`` for the real ones.

    Raises:
        UserError: a real detector without ``data``, or without its files.
    """
    if vehicle not in DETECTORS:
        images, labels = calibration_faces(samples, seed)
        test = faces_to_test_with(size)
        calibration = from_tensors(images, labels, samples)
        return Material(
            drawn_faces_detector(vehicle),
            calibration,
            test,
            by_dataset([sample.dataset for sample in test.samples]),
        )
    if data is None:
        raise UserError(f"{vehicle} is measured on photographs; give --data")
    detector, faces = DETECTORS[vehicle](data), data / "faces256"
    how = require_preprocessing(detector)
    calibration = from_source(faces / "train.csv", how, samples, seed=seed, on_corrupt="refuse")
    chosen: list[Sample] = list(read_source(faces / "test.csv"))
    if size != FULL or vehicle in SLOW:
        chosen = _first_of_each(chosen)
    parts = fair_pairs(chosen, data)
    return Material(detector, calibration, LabelledSet.from_source(chosen, how), parts)


def _first_of_each(samples: list[Sample]) -> list[Sample]:
    counts: dict[tuple[str, int | None], int] = defaultdict(int)
    chosen = []
    for sample in samples:
        counts[sample.dataset, sample.label] += 1
        if counts[sample.dataset, sample.label] <= _FEW:
            chosen.append(sample)
    return chosen
