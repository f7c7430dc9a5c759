"""All metrics of the variants of a detector: overall, by data set, by manipulation; fidelity; notes."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from brevitas_defakeq.evaluation.conventions import convention_named
from brevitas_defakeq.evaluation.fidelity import fidelity
from brevitas_defakeq.evaluation.frame_table import FrameTable, NameColumn
from brevitas_defakeq.evaluation.metrics import both_classes
from brevitas_defakeq.evaluation.paired_auc import Scores
from brevitas_defakeq.evaluation.reversed_labels import named_subsets, reversed_note
from brevitas_defakeq.evaluation.subset_metrics import (
    ScoredFrames,
    SubsetMetrics,
    mean_metrics,
    subset_metrics,
)

if TYPE_CHECKING:
    from brevitas_defakeq.evaluation.predict import Observed  # imports torch, which metrics do without

#: Share of tied scores above which a note mentions them.
NOTED_TIES = 0.1


def summarize(
    observed: Mapping[str, Observed],
    thresholds: Mapping[str, float],
    frames: FrameTable | None,
    *,
    convention: str = "default",
    no_face: int | None = None,
) -> dict[str, dict[str, Any]]:
    """`summaries` where the images are labelled, and ``fidelity`` to "float" where that was observed.

    Args:
        observed: variant -> its scores and feature noise.
        thresholds: variant -> decision threshold (0 where it is missing).
        frames: the labels of the images, in order; None gives fidelity alone.
    """
    scores = {variant: own.scores for variant, own in observed.items()}
    found: dict[str, dict[str, Any]] = {variant: {} for variant in observed}
    if frames is not None:
        found = summaries(frames, scores, thresholds, convention=convention, no_face=no_face)
    for variant, own in observed.items() if "float" in observed else ():
        ours, reference = thresholds.get(variant, 0.0), thresholds.get("float", 0.0)
        found[variant]["fidelity"] = fidelity(scores["float"], own.scores, own.noise, reference, ours)
    return found


def summaries(
    frames: FrameTable,
    scores: Scores,
    thresholds: Mapping[str, float],
    *,
    convention: str = "default",
    no_face: int | None = None,
) -> dict[str, dict[str, Any]]:
    """Metrics of every variant, ready for JSON.

    Args:
        scores: variant -> logits [N], in the order of the frames.
        thresholds: variant -> decision threshold on the logit (0 where it is missing).
        convention: "default" or "deepfakebench" (``evaluation.conventions``).
        no_face: frames that had no face and so are not among the scores, if known.

    Returns:
        variant -> ``auc``, ``auc_interval``, ``accuracy`` (at the variant's threshold), ``eer``, ``ap``,
        ``n`` and the other metrics of single frames; ``video_auc`` and, as ``video``, the same metrics of
        videos; where the variants include "float", ``drop``, the AUC that it loses against float with its
        paired interval, and ``fidelity`` to it; ``per_dataset``, all of this for each, with
        ``per_manipulation`` (its fakes against all reals of its data set) where fakes name theirs; ``mean``
        over the data sets that have both classes; ``notes``, warnings as sentences.

    Raises:
        UserError: only one class, or scores that are not finite.
    """
    rules = convention_named(convention)
    for values in scores.values():
        both_classes(frames.labels, values)
    scored = ScoredFrames(frames, scores, thresholds, rules)
    everything = np.ones(len(frames), dtype=bool)
    whole = subset_metrics(scored[everything], (0,))
    datasets, manipulations = {}, {}
    for name, chosen in _each(frames.datasets, everything):
        datasets[name] = whole if chosen.all() else subset_metrics(scored[chosen], (1, _number(name)))
        manipulations[name] = _manipulations(scored, chosen, datasets[name])
    mean = mean_metrics(list(datasets.values()))
    found = {}
    for variant in scores:
        per_dataset = {
            name: {**subset.metrics[variant], "per_manipulation": _of_variant(manipulations[name], variant)}
            for name, subset in datasets.items()
        }
        own = {
            **whole.metrics[variant], "threshold": float(thresholds.get(variant, 0.0)),
            "convention": convention, "per_dataset": per_dataset, "mean": mean.metrics.get(variant),
            "no_face": no_face,
        }  # fmt: skip
        found[variant] = {**own, "notes": list(_notes(own))}
    return found


def _manipulations(
    scored: ScoredFrames, dataset: np.ndarray, whole: SubsetMetrics
) -> dict[str, SubsetMetrics]:
    """Each manipulation's fakes against all reals of the data set (a mask [N])."""
    labels, found = scored.table.labels, {}
    if not whole.aucs:
        return {}
    for name, fakes in _each(scored.table.manipulations, dataset & (labels == 1)):
        chosen = fakes | dataset & (labels == 0)
        if name:
            same = np.array_equal(chosen, dataset)
            found[name] = whole if same else subset_metrics(scored[chosen], (2, _number(name)))
    return found


def _each(column: NameColumn, among: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The names that frames of the mask ``among`` have, sorted, each with the mask of its frames."""
    for name, code in sorted((column.names[code], code) for code in np.unique(column.codes[among])):
        yield name, among & (column.codes == code)


def _of_variant(subsets: Mapping[str, SubsetMetrics], variant: str) -> dict[str, dict[str, Any]]:
    return {name: subset.metrics[variant] for name, subset in subsets.items()}


def _number(name: str) -> int:
    """A seed of its own for each name, the same on every machine."""
    return zlib.crc32(name.encode())


def _notes(own: Mapping[str, Any]) -> Iterator[str]:
    """Warnings on one variant's metrics, each a sentence."""
    datasets = own["per_dataset"]
    if turned := reversed_note(named_subsets(own)):
        yield turned
    for word, other in (("real", "fake"), ("fake", "real")):
        names = [name for name, found in datasets.items() if not found[other]]
        if names:
            yield f"no AUC of their own for {', '.join(names)}: only {word} images"
    if own["tied_share"] > NOTED_TIES:
        share, distinct = 100 * own["tied_share"], own["distinct_scores"]
        yield f"{share:.1f} % of the scores tie ({distinct} distinct scores); a tie counts one half"
    if own["no_face"]:
        yield f"{own['no_face']} frames had no face and are not counted"
