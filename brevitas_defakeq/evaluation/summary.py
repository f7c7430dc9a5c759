"""All figures of the forms of a detector on labelled data: overall, by data set, by manipulation."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping

import numpy as np

from brevitas_defakeq.evaluation.checked import both_classes
from brevitas_defakeq.evaluation.columns import Columns, Names
from brevitas_defakeq.evaluation.convention import convention_named
from brevitas_defakeq.evaluation.notes import notes
from brevitas_defakeq.evaluation.part import Judge, Part, Scores, mean_part


def summaries(
    columns: Columns,
    scores: Scores,
    thresholds: Mapping[str, float],
    *,
    convention: str = "default",
    no_face: int | None = None,
) -> dict[str, dict]:
    """Figures of every form, ready for JSON.

    Args:
        scores: form -> logits [N], in the order of the columns.
        thresholds: form -> decision threshold on the logit (0 where it is missing).
        convention: "default" or "deepfakebench" (``evaluation.convention``).
        no_face: frames that had no face and so are not among the scores, if known.

    Returns:
        form -> ``auc``, ``auc_interval``, ``accuracy`` (at the form's threshold), ``eer``, ``ap``, ``n`` and
        the other figures of single frames; ``video_auc`` and, as ``video``, the same figures of videos;
        ``drop``, the AUC that it loses against float with its paired interval, where the forms include
        "float"; ``per_dataset``, all of this for each, with ``per_manipulation`` (its fakes against all reals
        of its data set) where fakes name theirs; ``mean`` over the data sets that have both classes;
        ``notes``, what a reader ought to know. Raises UserError for one class and for scores that are not
        finite.
    """
    rules = convention_named(convention)
    for values in scores.values():
        both_classes(columns.labels, values)
    judge = Judge(columns, scores, thresholds, rules)
    everything = np.ones(len(columns), dtype=bool)
    whole = judge.part(everything, (0,))
    parts, manipulations = {}, {}
    for name, chosen in _each(columns.datasets, everything):
        parts[name] = whole if chosen.all() else judge.part(chosen, (1, _number(name)))
        manipulations[name] = _manipulations(judge, chosen, parts[name])
    mean = mean_part(list(parts.values()))
    found = {}
    for form in scores:
        per_dataset = {
            name: {**part.figures[form], "per_manipulation": _of_form(manipulations[name], form)}
            for name, part in parts.items()
        }
        own = {
            **whole.figures[form], "threshold": float(thresholds.get(form, 0.0)), "convention": convention,
            "per_dataset": per_dataset, "mean": mean.figures.get(form), "no_face": no_face,
        }  # fmt: skip
        found[form] = {**own, "notes": notes(own)}
    return found


def _manipulations(judge: Judge, dataset: np.ndarray, whole: Part) -> dict[str, Part]:
    """Each manipulation's fakes against all reals of the data set (a mask [N])."""
    labels, found = judge.columns.labels, {}
    if not whole.draws:
        return found
    for name, fakes in _each(judge.columns.manipulations, dataset & (labels == 1)):
        chosen = fakes | dataset & (labels == 0)
        if name:
            same = np.array_equal(chosen, dataset)
            found[name] = whole if same else judge.part(chosen, (2, _number(name)))
    return found


def _each(column: Names, among: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The names that frames of the mask ``among`` have, in order, each with the mask of its frames."""
    for name, code in sorted((column.names[code], code) for code in np.unique(column.codes[among])):
        yield name, among & (column.codes == code)


def _of_form(parts: Mapping[str, Part], form: str) -> dict[str, dict]:
    return {name: part.figures[form] for name, part in parts.items()}


def _number(name: str) -> int:
    """A seed of its own for each name, the same on every machine."""
    return zlib.crc32(name.encode())
