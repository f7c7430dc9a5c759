"""The two designs, from the float network to the run: what `make` and the benchmark of budgets share."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from brevitas_defakeq import DefakeQConfig, quantize
from brevitas_defakeq.artifact import QuantizedDetector
from brevitas_defakeq.detectors.resolve import Detector, resolve
from brevitas_defakeq.evaluate.labelled import LabelledSet
from brevitas_defakeq.progress import ProgressCallback, silent
from brevitas_defakeq.utils.files import write_bytes
from hw.designs.training import CALIBRATION_SEED, TEST_SEED, faces, prepared, trained

DESIGN_CALIBRATION_IMAGES = 256


@dataclass(frozen=True)
class Design:
    """A detector, of the factory `hw.designs.networks:NAME`, and what it is built for.

    Attributes:
        average_bits, activation_bits: of its run; widths are chosen among 2, 3, 4, 6 and 8.
        board, fps: what its baseline is estimated for.
    """

    name: str
    average_bits: float
    activation_bits: int
    board: str
    fps: float


DESIGNS = {
    design.name: design
    for design in (
        # thresholds of six bits take a quarter of the memory of eight: an ECP5 has 3.7 Mbit in all
        Design("chain", average_bits=4, activation_bits=6, board="Pynq-Z1", fps=500),
        Design("encoder", average_bits=3, activation_bits=8, board="Pynq-Z1", fps=500),
    )
}


def float_detector(design: Design, work: Path, on_progress: ProgressCallback = silent) -> Detector:
    """The trained float detector; its weights are kept in ``work`` and taken from there."""
    path, name = work / f"{design.name}.safetensors", f"hw.designs.networks:{design.name}"
    if not path.exists():
        state = trained(lambda: resolve(name).model, on_progress=on_progress).state_dict()
        write_bytes(path, save({key: tensor.contiguous() for key, tensor in state.items()}))
    return resolve(name, weights=[path])


def configuration(design: Design, iterations: int | None = None, **budget) -> DefakeQConfig:
    """The settings of a run for hardware, at the design's budget unless another is given.

    Args:
        iterations: steps a block; the last pass takes a quarter of them.
    """
    budget = budget or {"average_bits": design.average_bits}
    config = DefakeQConfig(activation_bits=design.activation_bits, target="fpga", **budget)
    if iterations is None:
        return config
    return replace(
        config, reconstruction=replace(config.reconstruction, iterations=iterations),
        final=replace(config.final, steps=iterations // 4),
    )  # fmt: skip


def quantized(detector: Detector, config: DefakeQConfig, test: LabelledSet, **options) -> QuantizedDetector:
    """A run on the designs' calibration faces; options as of ``quantize``."""
    images, labels = faces(DESIGN_CALIBRATION_IMAGES, CALIBRATION_SEED)
    return quantize(detector, prepared(images), config, labels=torch.from_numpy(labels), test=test, **options)


def test_faces(count: int) -> tuple[Tensor, Tensor]:
    """Drawn faces that neither training nor calibration saw: tensors [N, 3, 64, 64] and labels [N]."""
    images, labels = faces(count, TEST_SEED)
    return prepared(images), torch.from_numpy(labels)
