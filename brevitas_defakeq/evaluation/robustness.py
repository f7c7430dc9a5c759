"""How much perturbed pictures cost, and whether quantization makes them cost more.

Every form scores the same perturbed pictures, and every AUC is bootstrapped over the same videos, so
differences between forms, levels and kinds are all paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from torch import nn

from brevitas_defakeq.data.sources import Sample
from brevitas_defakeq.evaluation.columns import Columns
from brevitas_defakeq.evaluation.forms import FileForms, RunForms
from brevitas_defakeq.evaluation.labelled import labelled_samples
from brevitas_defakeq.evaluation.measured import Measured
from brevitas_defakeq.evaluation.observe import gather
from brevitas_defakeq.evaluation.perturb.occlusion import BLOCK_UNIT
from brevitas_defakeq.evaluation.perturb.perturbations import (
    LEVELS,
    PERTURBATIONS,
    chosen_levels,
    chosen_names,
    perturbed,
)
from brevitas_defakeq.imaging.image_files import Read, read_sample
from brevitas_defakeq.progress import ProgressCallback, silent

if TYPE_CHECKING:
    from brevitas_defakeq.artifact import QuantizedDetector

_CROPS = (
    "perturbed were the pictures as given, before preprocessing: on face crops blur, blocks and pixelation "
    "are stronger than on the whole frames that their definitions speak of"
)


def robustness(
    run: str | Path | QuantizedDetector,
    data: str | Path | Sequence[Sample],
    names: str | Sequence[str] = "all",
    levels: Sequence[int] = LEVELS,
    float_model: nn.Module | None = None,
    images: Read | None = None,
    *,
    which: Sequence[str] = ("float", "quantized"),
    against: str | Path | None = None,
    seed: int = 0,
    workers: int = 2,
    on_progress: ProgressCallback = silent,
) -> dict:
    """The AUC of every form on clean pictures and under each perturbation at each level.

    Args:
        run: a run folder, what ``quantize`` or ``load`` returned, or an exported ``model.onnx``.
        data: labelled images: folder, CSV, or samples.
        names: "all", or some of ``PERTURBATIONS``.
        levels: some of 1 (mild) to 5 (severe).
        float_model: the float detector; without "float" in ``which`` it is not needed.
        images: how a sample's picture is come by, 8-bit RGB; None reads its file.
        which: forms of a run. ``against``: for an exported file the float one, exported as well.
        seed: of what is random in a perturbation, together with path and level.
        on_progress: called with ("perturb", passes over the data that are done, total).

    Returns:
        ``clean``, and in ``perturbations`` of each its ``points`` (one a level) and their ``mean``; ``mean``
        over all kinds; ``notes``. What each of them holds by form is said in ``Measured.figures``.
    """
    kinds, levels = chosen_names(names), chosen_levels(levels)
    forms = _forms(run, which, float_model, against)
    samples = labelled_samples(data)
    read, sizes = images or read_sample, []
    columns = Columns.of(samples)

    def measured(reading: Read) -> Measured:
        observed = gather(forms.look(samples, reading, workers))
        return Measured.of({form: seen.scores for form, seen in observed.items()}, columns)

    total = 1 + len(kinds) * len(levels)
    on_progress("perturb", 0, total)
    clean = measured(_noting_sizes(read, sizes))
    points: dict[str, list[Measured]] = {}
    for name in kinds:
        for level in levels:
            on_progress("perturb", 1 + sum(map(len, points.values())), total)
            points.setdefault(name, []).append(measured(perturbed(read, name, level, seed)))
    on_progress("perturb", total, total)
    return {
        "n": len(samples),
        "seed": seed,
        "levels": levels,
        "clean": clean.figures(),
        "perturbations": {name: _curve(name, levels, points[name], clean) for name in kinds},
        "mean": Measured.mean([Measured.mean(points[name]) for name in kinds]).figures(clean),
        "notes": [_CROPS, *_small(kinds, sizes)],
    }


def _curve(name: str, levels: Sequence[int], points: Sequence[Measured], clean: Measured) -> dict:
    """One kind of perturbation."""
    kind = PERTURBATIONS[name]
    return {
        "code": kind.code,
        "meaning": kind.meaning,
        "points": [
            {"level": level, "value": kind.values[level - 1], "forms": point.figures(clean)}
            for level, point in zip(levels, points, strict=True)
        ],
        "mean": Measured.mean(points).figures(clean),
    }


def _forms(run, which, float_model, against) -> RunForms | FileForms:
    if isinstance(run, str | Path) and Path(run).suffix == ".onnx":
        return FileForms.of(run, against)
    return RunForms.of(run, which, float_model)


def _noting_sizes(read: Read, sizes: list[int]) -> Read:
    """``read``, which notes the shorter side of every picture."""

    def reader(sample: Sample) -> Image.Image:
        picture = read(sample)
        sizes.append(min(picture.size))
        return picture

    return reader


def _small(kinds: Sequence[str], sizes: Sequence[int]) -> list[str]:
    """Pictures that are too small for grey blocks stay as they are, which a flat curve does not say."""
    small = sum(size < BLOCK_UNIT for size in sizes)
    if "blocks" not in kinds or not small:
        return []
    return [f"blocks leaves {small} of {len(sizes)} pictures as they are: smaller than {BLOCK_UNIT} pixels"]
