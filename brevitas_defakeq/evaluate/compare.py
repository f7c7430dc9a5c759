"""Float detector and quantized forms side by side on one data set: AUC where labelled, fidelity always."""

from collections.abc import Mapping, Sequence

import numpy as np

from brevitas_defakeq.data.sources import Sample
from brevitas_defakeq.evaluate.metrics import fidelity, summary
from brevitas_defakeq.evaluate.observe import Observed


def compare(
    observed: Mapping[str, Observed],
    thresholds: Mapping[str, float],
    samples: Sequence[Sample] | None,
) -> dict[str, dict]:
    """Figures of every form.

    Args:
        observed: form -> scores and features; "float" is the reference.
        thresholds: form -> decision threshold (0 where it is missing).
        samples: the labelled images, in order; None gives fidelity alone.
    """
    reference, reference_threshold = observed["float"], thresholds.get("float", 0.0)
    figures: dict[str, dict] = {}
    for form, seen in observed.items():
        threshold = thresholds.get(form, 0.0)
        figures[form] = labelled(seen.scores, threshold, samples) if samples else {}
        figures[form]["fidelity"] = fidelity(
            reference.scores, seen.scores, reference.features, seen.features, reference_threshold, threshold
        )
    return figures


def labelled(scores: np.ndarray, threshold: float, samples: Sequence[Sample]) -> dict:
    """AUC with its interval, accuracy, EER, AP and the rest, overall and per data set."""
    labels = np.array([sample.label for sample in samples])
    videos = np.array([f"{sample.dataset}/{sample.video}" for sample in samples])
    datasets = np.array([sample.dataset for sample in samples])
    return summary(labels, scores, threshold, groups=videos, datasets=datasets)
