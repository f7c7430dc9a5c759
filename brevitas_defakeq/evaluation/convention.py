"""Whose definitions the figures follow: ours, or those behind DeepfakeBench's published tables.

``default``: ranked on logits; EER interpolated; a video is one only within its data set and label and scores
the mean of its logits; accuracy at 0.5 (logit 0) and at the run's own threshold.

``deepfakebench``: everything on P(fake) in single precision, whose ties near 0 and 1 count; EER is the
false-positive rate at the point of scikit-learn's curve (collinear points dropped) where it is closest to
the false-negative rate; accuracy is the share with p > 0.5; a video is every frame whose folder has the same
bare name (so the four forgeries of one FaceForensics++ pair are one video), scores the mean of p, and is
fake only where all of its frames are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from brevitas_defakeq.evaluation.columns import Columns
from brevitas_defakeq.evaluation.curve import Curve
from brevitas_defakeq.evaluation.metrics import accuracy, balanced_accuracy, calibration_error
from brevitas_defakeq.utils.errors import UserError


@dataclass(frozen=True)
class Convention:
    """``scores``: what of a logit is ranked. ``figures``: one list of labels, scores and a threshold, without
    its AUC. ``videos``: the video of each frame, [N].
    """

    name: str
    scores: Callable[[np.ndarray], np.ndarray]
    figures: Callable[[np.ndarray, np.ndarray, float], dict]
    videos: Callable[[Columns], np.ndarray]


def convention_named(name: str) -> Convention:
    """The convention of that name; UserError for any other."""
    if name not in CONVENTIONS:
        raise UserError(f"convention={name!r} is not known; choose one of {', '.join(CONVENTIONS)}")
    return CONVENTIONS[name]


def default_figures(labels: np.ndarray, logits: np.ndarray, threshold: float) -> dict:
    """What every list of logits gets, at 0.5 and at the run's threshold."""
    curve = Curve.of(labels, logits)
    return {
        "accuracy": accuracy(labels, logits, threshold),
        "eer": curve.eer(),
        "ap": curve.average_precision(),
        "balanced_accuracy": balanced_accuracy(labels, logits, threshold),
        "accuracy_at_half": accuracy(labels, logits),
        "balanced_accuracy_at_half": balanced_accuracy(labels, logits),
        "tpr_at_1_percent_fpr": curve.tpr_at(0.01),
        "tpr_at_5_percent_fpr": curve.tpr_at(0.05),
        "ece": calibration_error(labels, logits),
        "distinct_scores": curve.distinct(),
        "tied_share": curve.tied_share(),
    }


def deepfakebench_figures(labels: np.ndarray, shares: np.ndarray, threshold: float = 0.5) -> dict:
    """That benchmark's figures of P(fake); it knows no threshold but 0.5."""
    from sklearn.metrics import roc_curve

    curve = Curve.of(labels, shares)
    false_positive, true_positive, _ = roc_curve(labels, shares)
    return {
        "accuracy": accuracy(labels, shares, 0.5),
        "eer": float(false_positive[np.argmin(np.abs(1 - true_positive - false_positive))]),
        "ap": curve.average_precision(),
        "distinct_scores": curve.distinct(),
        "tied_share": curve.tied_share(),
    }


def softmax(logits: np.ndarray) -> np.ndarray:
    """P(fake) in single precision as a softmax over two classes gives it, the margin being the logit."""
    margin = np.asarray(logits, dtype=np.float32)
    small = np.exp(-np.abs(margin))
    return np.where(margin > 0, np.float32(1), small) / (1 + small)


CONVENTIONS = {
    each.name: each
    for each in (
        Convention("default", np.asarray, default_figures, lambda columns: columns.videos),
        Convention("deepfakebench", softmax, deepfakebench_figures, lambda columns: columns.folders),
    )
}
