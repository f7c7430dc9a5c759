"""Float detector and quantized forms side by side on one data set: AUC where labelled, fidelity always."""

from collections.abc import Mapping

from brevitas_defakeq.evaluation.columns import Columns
from brevitas_defakeq.evaluation.fidelity import fidelity
from brevitas_defakeq.evaluation.observe import Observed
from brevitas_defakeq.evaluation.summary import summaries


def compare(
    observed: Mapping[str, Observed],
    thresholds: Mapping[str, float],
    columns: Columns | None,
    *,
    convention: str = "default",
    no_face: int | None = None,
) -> dict[str, dict]:
    """Figures of every form.

    Args:
        observed: form -> what it said; fidelity is to "float" and left out where that is missing.
        thresholds: form -> decision threshold (0 where it is missing).
        columns: the labels of the images, in order; None gives fidelity alone.
    """
    scores = {form: seen.scores for form, seen in observed.items()}
    figures: dict[str, dict] = {form: {} for form in observed}
    if columns is not None:
        figures = summaries(columns, scores, thresholds, convention=convention, no_face=no_face)
    for form, seen in observed.items() if "float" in observed else ():
        own, reference = thresholds.get(form, 0.0), thresholds.get("float", 0.0)
        figures[form]["fidelity"] = fidelity(scores["float"], scores[form], seen.noise, reference, own)
    return figures
