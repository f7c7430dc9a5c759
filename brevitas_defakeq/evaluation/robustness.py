"""How much AUC perturbed images cost, and whether quantization makes them cost more.

Every variant scores the same perturbed images, and every AUC is bootstrapped over the same videos, so
differences between variants, levels and perturbations are all paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from brevitas_defakeq.data.labelled_set import labelled_samples
from brevitas_defakeq.data.sources import Sample
from brevitas_defakeq.evaluation.frame_table import FrameTable
from brevitas_defakeq.evaluation.paired_auc import Estimates, auc_drops, auc_estimates, mean_estimates
from brevitas_defakeq.evaluation.perturb.occlusion import BLOCK_UNIT
from brevitas_defakeq.evaluation.perturb.perturbations import (
    LEVELS,
    PERTURBATIONS,
    chosen_levels,
    chosen_names,
    perturbed,
)
from brevitas_defakeq.evaluation.predict import collect
from brevitas_defakeq.evaluation.predictors import Predictor
from brevitas_defakeq.evaluation.reversed_labels import reversed_notes
from brevitas_defakeq.imaging.image_files import Read, read_sample
from brevitas_defakeq.progress import ProgressCallback, silent

_CROPS_NOTE = (
    "images were perturbed as given, before preprocessing: on face crops blur, blocks and pixelation are "
    "stronger than on the whole frames that their definitions speak of"
)


def robustness(
    predictor: Predictor,
    data: str | Path | Sequence[Sample],
    names: str | Sequence[str] = "all",
    levels: Sequence[float] = LEVELS,
    *,
    images: Read = read_sample,
    seed: int = 0,
    workers: int = 2,
    on_progress: ProgressCallback = silent,
) -> dict[str, Any]:
    """The AUC of every variant on clean images and under each perturbation at each level.

    Args:
        data: labelled images: folder, CSV, or samples.
        names: "all", or some of ``PERTURBATIONS``.
        levels: some of 1 (mild) to 5 (severe).
        images: gives a sample's image, 8-bit RGB.
        seed: of what is random in a perturbation, together with path and level.
        workers: threads that read ahead.
        on_progress: called with ("perturb", passes over the data that are done, total).

    Returns:
        ``clean``, and in ``perturbations`` of each its ``points`` (one a level) and their ``mean``; ``mean``
        over all perturbations; ``notes``. ``point_metrics`` says what each holds by variant.
    """
    kinds, chosen = chosen_names(names), chosen_levels(levels)
    samples = labelled_samples(data)
    frames = FrameTable.from_samples(samples)
    sizes: list[int] = []

    def estimates(read: Read) -> Estimates:
        observed = collect(predictor.outputs(samples, read, workers))
        scores = {variant: own.scores for variant, own in observed.items()}
        return auc_estimates(frames.labels, scores, groups=frames.videos)

    total = 1 + len(kinds) * len(chosen)
    on_progress("perturb", 0, total)
    clean = estimates(_noting_sizes(images, sizes))
    points: dict[str, list[Estimates]] = {name: [] for name in kinds}
    for done, (name, level) in enumerate([(name, level) for name in kinds for level in chosen], start=1):
        on_progress("perturb", done, total)
        points[name].append(estimates(perturbed(images, name, level, seed)))
    on_progress("perturb", total, total)
    unperturbed = point_metrics(clean)
    return {
        "n": len(samples),
        "seed": seed,
        "levels": chosen,
        "clean": unperturbed,
        "perturbations": {name: _curve(name, chosen, points[name], clean) for name in kinds},
        "mean": point_metrics(mean_estimates([mean_estimates(points[name]) for name in kinds]), clean),
        "notes": [_CROPS_NOTE, *_small_images(kinds, sizes), *reversed_notes(unperturbed)],
    }


def point_metrics(estimates: Estimates, clean: Estimates | None = None) -> dict[str, dict[str, Any]]:
    """By variant its ``auc`` and, each as an AUC with a 95 % interval over videos: ``drop``, what it loses
    against "float" here, and, where ``clean`` is given, ``loss``, what it loses against clean images, and
    ``extra_drop``, by how much ``drop`` is larger here than on clean images.
    """
    drops, found = auc_drops(estimates), {}
    for variant, own in estimates.items():
        differences = {}
        if clean is not None:
            differences["loss"] = clean[variant] - own
        if variant in drops:
            differences["drop"] = drops[variant]
            if clean is not None:
                differences["extra_drop"] = drops[variant] - auc_drops(clean)[variant]
        found[variant] = own.to_dict() | {key: each.to_dict() for key, each in differences.items()}
    return found


def _curve(name: str, levels: Sequence[int], points: Sequence[Estimates], clean: Estimates) -> dict[str, Any]:
    """One perturbation at every level."""
    kind = PERTURBATIONS[name]
    return {
        "code": kind.code,
        "meaning": kind.meaning,
        "points": [
            {"level": level, "value": kind.values[level - 1], "forms": point_metrics(point, clean)}
            for level, point in zip(levels, points, strict=True)
        ],
        "mean": point_metrics(mean_estimates(points), clean),
    }


def _noting_sizes(read: Read, sizes: list[int]) -> Read:
    """``read`` that appends the shorter side of every image to ``sizes``."""

    def reader(sample: Sample) -> Image.Image:
        image = read(sample)
        sizes.append(min(image.size))
        return image

    return reader


def _small_images(kinds: Sequence[str], sizes: Sequence[int]) -> list[str]:
    """A note where images are too small for grey blocks, which a flat curve would not tell."""
    small = sum(size < BLOCK_UNIT for size in sizes)
    if "blocks" not in kinds or not small:
        return []
    return [f"blocks leaves {small} of {len(sizes)} images as they are: smaller than {BLOCK_UNIT} pixels"]
