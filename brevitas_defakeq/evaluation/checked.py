"""Labels and scores as every metric takes them, refused where they cannot be."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from brevitas_defakeq.utils.errors import UserError


def finite(scores: ArrayLike, what: str = "scores") -> np.ndarray:
    """Scores as doubles [N]; raises UserError if there are none or any is not finite."""
    scores = np.asarray(scores, dtype=np.float64).reshape(-1)
    broken = int(np.count_nonzero(~np.isfinite(scores)))
    if broken or not len(scores):
        raise UserError(f"{broken} of {len(scores)} {what} are not finite; a detector must score every image")
    return scores


def checked(labels: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Labels as small integers and scores as doubles, both [N]."""
    labels, scores = np.asarray(labels).reshape(-1), finite(scores)
    if len(labels) != len(scores):
        raise UserError(f"{len(labels)} labels and {len(scores)} scores: give one of each for every image")
    if not ((labels == 0) | (labels == 1)).all():
        raise UserError("labels must be 0 (real) or 1 (fake) for every image; give labelled data")
    return labels.astype(np.int8), scores


def both_classes(labels: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """`checked`, and refused where all images are real or all are fake."""
    labels, scores = checked(labels, scores)
    if labels.min() == labels.max():
        only = "fake" if labels[0] else "real"
        raise UserError(
            f"all {len(labels)} images are {only}; an AUC needs real and fake ones, so add the others"
        )
    return labels, scores
