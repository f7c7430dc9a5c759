"""What every benchmark says of one compressed detector's scores, beside the float one's."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from brevitas_defakeq.evaluation.bootstrap import auc_interval
from brevitas_defakeq.evaluation.fidelity import fidelity
from brevitas_defakeq.evaluation.metrics import auc


def measures(
    scores: np.ndarray, reference: np.ndarray, labels: np.ndarray, parts: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """AUC with its interval, share of the float AUC, flips at the float threshold 0, error of the logit.

    Args:
        scores, reference: fake logits [N] of the compressed and of the float detector.
        labels: [N], 1 = fake.
        parts: name -> mask [N] of images with both labels; ``parts`` has the same figures of each.

    Returns:
        JSON: ``auc``, ``auc_interval``, ``auc_kept`` (over the float AUC), ``relative_error`` (mean squared
        error of the logit over the variance of the float one), ``fidelity`` (flips with Wilson's interval,
        rank correlation, largest change of probability), ``parts``.
    """
    whole = _measures(scores, reference, labels)
    whole["parts"] = {
        name: _measures(scores[here], reference[here], labels[here]) for name, here in parts.items()
    }
    return whole


def by_dataset(datasets: Sequence[str]) -> dict[str, np.ndarray]:
    """Masks [N] of the images of each data set, of the name of each image's."""
    names = np.array(datasets)
    return {str(name): names == name for name in dict.fromkeys(datasets)}


def _measures(scores: np.ndarray, reference: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    found = auc(labels, scores)
    return {
        "auc": found,
        "auc_interval": list(auc_interval(labels, scores)),
        "auc_kept": found / auc(labels, reference),
        "relative_error": float(np.mean((scores - reference) ** 2) / reference.var()),
        "fidelity": fidelity(reference, scores),
    }
