"""The perturbations by name, and what each level of them is."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from brevitas_defakeq.data.sources import Sample
from brevitas_defakeq.evaluation.perturb import colour, detail, light, occlusion
from brevitas_defakeq.imaging.image_files import Read
from brevitas_defakeq.imaging.pixel_modes import to_rgb
from brevitas_defakeq.utils.errors import UserError

LEVELS = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Perturbation:
    """``values`` are those of levels 1 to 5, ``meaning`` what they count; ``code`` is DeeperForensics'."""

    name: str
    code: str | None
    meaning: str
    values: tuple[float, ...]
    apply: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]

    def __post_init__(self) -> None:
        if len(self.values) != len(LEVELS):
            raise UserError(
                f"perturbation {self.name}: {len(self.values)} values; give one for each of 5 levels"
            )


PERTURBATIONS = {
    each.name: each
    for each in (
        Perturbation(
            "saturation", "CS", "share of chroma kept", (0.4, 0.3, 0.2, 0.1, 0.0), colour.saturation
        ),
        Perturbation("contrast", "CC", "factor", (0.85, 0.725, 0.6, 0.475, 0.35), colour.contrast),
        Perturbation("blocks", "BW", "8 x 8 squares per 256 pixels", (16, 32, 48, 64, 80), occlusion.blocks),
        Perturbation("noise", "GNC", "variance", (0.001, 0.002, 0.005, 0.01, 0.05), colour.colour_noise),
        Perturbation("blur", "GB", "kernel in pixels", (7, 9, 13, 17, 21), detail.blur),
        Perturbation("pixelation", "JPEG", "scaled down by", (2, 3, 4, 5, 6), detail.pixelation),
        Perturbation("jpeg", None, "quality", (90, 70, 50, 30, 10), detail.jpeg),
        Perturbation("low_light", None, "share of the light", (0.5, 0.25, 0.12, 0.06, 0.03), light.low_light),
        Perturbation("occlusion", None, "share covered", (0.05, 0.1, 0.2, 0.3, 0.4), occlusion.occlusion),
    )
}


def perturb(pixels: np.ndarray, name: str, level: int, generator: np.random.Generator) -> np.ndarray:
    """An image, uint8 RGB [H, W, 3], perturbed at level 1 to 5; the given one stays as it is.

    Raises UserError for other names and levels, and where the perturbation gives no uint8 [H, W, 3].
    """
    if name not in PERTURBATIONS or level not in LEVELS:
        raise UserError(
            f"perturbation {name!r}, level {level}: choose of {', '.join(PERTURBATIONS)}, and 1 to 5"
        )
    kind = PERTURBATIONS[name]
    changed = np.asarray(kind.apply(pixels, kind.values[level - 1], generator))
    if changed.dtype != np.uint8 or changed.ndim != 3 or changed.shape[2] != 3:
        found = f"{changed.dtype} {list(changed.shape)}"
        raise UserError(f"perturbation {name} gave {found}; it has to return uint8 [H, W, 3]")
    return changed


def perturbed(read: Read, name: str, level: int, seed: int) -> Read:
    """``read`` with the perturbation on top; what is random depends on seed, path and level alone."""

    def reader(sample: Sample) -> Image.Image:
        path = zlib.crc32(sample.path.as_posix().encode())
        pixels = np.asarray(to_rgb(read(sample)))
        return Image.fromarray(perturb(pixels, name, level, np.random.default_rng([seed, path, level])))

    return reader


def chosen_names(names: str | Sequence[str]) -> list[str]:
    """Names of perturbations in the order of the table, from "all" or from names (commas between them)."""
    given = names.split(",") if isinstance(names, str) else list(names)
    given = [name.strip() for name in given]
    unknown = [name for name in given if name not in PERTURBATIONS and name != "all"]
    if unknown or not given:
        known = ", ".join(PERTURBATIONS)
        raise UserError(f"perturbation {(unknown or [''])[0]!r} is not known; choose all, or of {known}")
    return [name for name in PERTURBATIONS if name in given or "all" in given]


def chosen_levels(levels: Sequence[float]) -> list[int]:
    """Levels in order, each once. Raises UserError for others than 1 to 5."""
    if not levels or any(level not in LEVELS for level in levels):
        raise UserError(f"levels={list(levels)}: give some of 1 (mild) to 5 (severe)")
    return sorted({int(level) for level in levels})
