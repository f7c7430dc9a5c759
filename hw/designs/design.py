"""The two designs, from float network to run; shared by `make` and the benchmark of hardware budgets."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from brevitas_defakeq import DefakeQConfig, quantize
from brevitas_defakeq.artifact import QuantizedDetector
from brevitas_defakeq.data.labelled_set import LabelledSet
from brevitas_defakeq.detectors.resolve import Detector, resolve
from brevitas_defakeq.progress import ProgressCallback, silent
from brevitas_defakeq.utils.files import write_bytes
from hw.designs.training import CALIBRATION_SEED, TEST_SEED, faces, prepared, trained

DESIGN_CALIBRATION_IMAGES = 256


@dataclass(frozen=True)
class Design:
    """A detector of the factory `hw.designs.networks:NAME`, and its targets.

    Attributes:
        average_bits, activation_bits: of its run; candidate bit-widths are 2, 3, 4, 6 and 8.
        board, fps: board and frames per second of its baseline.
    """

    name: str
    average_bits: float
    activation_bits: int
    board: str
    fps: float


DESIGNS = {
    design.name: design
    for design in (
        # six-bit thresholds take a quarter of the memory of eight-bit ones; an ECP5-85 has 3.7 Mbit in all
        Design("chain", average_bits=4, activation_bits=6, board="Pynq-Z1", fps=500),
        Design("encoder", average_bits=3, activation_bits=8, board="Pynq-Z1", fps=500),
    )
}


def float_detector(design: Design, work: Path, on_progress: ProgressCallback = silent) -> Detector:
    """The trained float detector; its weights are cached in the folder ``work``."""
    path, name = work / f"{design.name}.safetensors", f"hw.designs.networks:{design.name}"
    if not path.exists():
        state = trained(lambda: resolve(name).model, on_progress=on_progress).state_dict()
        write_bytes(path, save({key: tensor.contiguous() for key, tensor in state.items()}))
    return resolve(name, weights=[path])


def configuration(design: Design, iterations: int | None = None, **budget: Any) -> DefakeQConfig:
    """The configuration of a run for hardware.

    Args:
        iterations: optimization steps per block, and four times those of the final pass; None: the defaults.
        budget: ``average_bits`` or ``budget`` of the configuration; none: the design's average bits.
    """
    budget = budget or {"average_bits": design.average_bits}
    config = DefakeQConfig(activation_bits=design.activation_bits, target="fpga", **budget)
    if iterations is None:
        return config
    return replace(
        config, reconstruction=replace(config.reconstruction, iterations=iterations),
        final=replace(config.final, steps=iterations // 4),
    )  # fmt: skip


def quantized(
    detector: Detector, config: DefakeQConfig, test: LabelledSet, **options: Any
) -> QuantizedDetector:
    """A run on the designs' calibration faces; ``options`` are further arguments of ``quantize``."""
    images, labels = faces(DESIGN_CALIBRATION_IMAGES, CALIBRATION_SEED)
    return quantize(detector, prepared(images), config, labels=torch.from_numpy(labels), test=test, **options)


def test_faces(count: int) -> tuple[Tensor, Tensor]:
    """Drawn faces used in neither training nor calibration: float32 [N, 3, 64, 64] and labels [N]."""
    images, labels = faces(count, TEST_SEED)
    return prepared(images), torch.from_numpy(labels)
