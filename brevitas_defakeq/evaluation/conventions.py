"""Whose definitions the metrics follow: ours, or those behind DeepfakeBench's published tables.

``default``: ranked on logits; EER interpolated; a video's name counts only within its data set and label, and
a video scores the mean of its logits; accuracy at 0.5 (logit 0) and at the run's own threshold.

``deepfakebench``: everything on P(fake) in single precision, whose ties near 0 and 1 count; EER is the
false-positive rate at the point of scikit-learn's curve (collinear points dropped) where it is closest to
the false-negative rate; accuracy is the share with p > 0.5; a video is every frame whose folder has the same
bare name (so the four forgeries of one FaceForensics++ pair are one video), scores the mean of p, and is
fake only where all of its frames are.

A new metric is one entry in ``DEFAULT_METRICS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from brevitas_defakeq.evaluation.frame_table import FrameTable
from brevitas_defakeq.evaluation.metrics import Curve, accuracy, balanced_accuracy, calibration_error
from brevitas_defakeq.utils.errors import UserError


@dataclass(frozen=True)
class Scored:
    """What a metric is computed from: labels [N] (both classes), scores [N] and a threshold on the scores."""

    labels: np.ndarray
    scores: np.ndarray
    threshold: float

    @cached_property
    def curve(self) -> Curve:
        return Curve.of(self.labels, self.scores)


#: JSON key -> metric.
Metrics = Mapping[str, Callable[[Scored], float]]


@dataclass(frozen=True)
class Convention:
    """``scores``: what of a logit is ranked. ``metrics``: what is reported beside the AUC, in order.
    ``videos``: the video of each frame, [N].
    """

    name: str
    scores: Callable[[np.ndarray], np.ndarray]
    metrics: Metrics
    videos: Callable[[FrameTable], np.ndarray]

    def compute(self, labels: np.ndarray, scores: np.ndarray, threshold: float) -> dict[str, float]:
        """Every metric of one list of frames or videos. Raises UserError for one that gives no number."""
        scored = Scored(labels, scores, threshold)
        return {key: _number(key, metric(scored)) for key, metric in self.metrics.items()}


def _number(key: str, value: object) -> float:
    """A metric's value as Python's int or float, which JSON can hold."""
    value = value.item() if isinstance(value, np.generic) else value
    if not isinstance(value, int | float):
        raise UserError(f"metric {key!r} gave {type(value).__name__}; return a number")
    return value


def convention_named(name: str) -> Convention:
    """The convention of that name; UserError for any other."""
    if name not in CONVENTIONS:
        raise UserError(f"convention={name!r} is not known; choose one of {', '.join(CONVENTIONS)}")
    return CONVENTIONS[name]


def softmax(logits: np.ndarray) -> np.ndarray:
    """P(fake) in single precision as a softmax over two classes gives it, the margin being the logit."""
    margin = np.asarray(logits, dtype=np.float32)
    small = np.exp(-np.abs(margin))
    return np.where(margin > 0, np.float32(1), small) / (1 + small)


def _eer_at_a_point(scored: Scored) -> float:
    """The EER as DeepfakeBench reads it off scikit-learn's curve."""
    from sklearn.metrics import roc_curve

    false_positive, true_positive, _ = roc_curve(scored.labels, scored.scores)
    return float(false_positive[np.argmin(np.abs(1 - true_positive - false_positive))])


DEFAULT_METRICS: dict[str, Callable[[Scored], float]] = {
    "accuracy": lambda it: accuracy(it.labels, it.scores, it.threshold),
    "eer": lambda it: it.curve.eer(),
    "ap": lambda it: it.curve.average_precision(),
    "balanced_accuracy": lambda it: balanced_accuracy(it.labels, it.scores, it.threshold),
    "accuracy_at_half": lambda it: accuracy(it.labels, it.scores),
    "balanced_accuracy_at_half": lambda it: balanced_accuracy(it.labels, it.scores),
    "tpr_at_1_percent_fpr": lambda it: it.curve.tpr_at(0.01),
    "tpr_at_5_percent_fpr": lambda it: it.curve.tpr_at(0.05),
    "ece": lambda it: calibration_error(it.labels, it.scores),
    "distinct_scores": lambda it: it.curve.distinct(),
    "tied_share": lambda it: it.curve.tied_share(),
}

DEEPFAKEBENCH_METRICS: dict[str, Callable[[Scored], float]] = {
    "accuracy": lambda it: accuracy(it.labels, it.scores, 0.5),  # the convention has no other threshold
    "eer": _eer_at_a_point,
    "ap": lambda it: it.curve.average_precision(),
    "distinct_scores": lambda it: it.curve.distinct(),
    "tied_share": lambda it: it.curve.tied_share(),
}

CONVENTIONS = {
    each.name: each
    for each in (
        Convention("default", np.asarray, DEFAULT_METRICS, lambda frames: frames.videos),
        Convention("deepfakebench", softmax, DEEPFAKEBENCH_METRICS, lambda frames: frames.folders),
    )
}
