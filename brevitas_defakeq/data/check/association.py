"""Whether anything but the face predicts the label: file format, size, compression, source."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

#: Balanced accuracy above chance that is reported, unless there are too few videos to tell.
_NOTABLE = 0.1


def association(
    attribute: str, names: Sequence[str], labels: np.ndarray, videos: np.ndarray
) -> dict[str, Any] | None:
    """How well an attribute predicts the label of held-out videos.

    Args:
        attribute: its name.
        names: its value for each image, [N].
        labels: 0 real, 1 fake, [N].
        videos: a number for each image's video, [N]; each half of the videos predicts the other half.

    Returns:
        JSON-able: `accuracy` (balanced; 0.5 is chance), the most predictive `value`, its shares of
        the real and of the fake images, and `notable`; None where either half lacks a class.
    """
    values = np.asarray(names)
    half = _halves(videos, labels)
    scores = [_held_out(values, labels, half == learned) for learned in (0, 1)]
    known = [score for score in scores if score is not None]
    if len(known) < 2:
        return None
    accuracy = float(np.mean(known))
    fewest = min(len(np.unique(videos[labels == label])) for label in (0, 1))
    value, real, fake = _most_predictive(values, labels)
    return {
        "attribute": attribute, "accuracy": accuracy, "value": value, "share_of_real": real,
        "share_of_fake": fake, "notable": accuracy > 0.5 + max(_NOTABLE, 1 / math.sqrt(fewest)),
    }  # fmt: skip


def _halves(videos: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """0 or 1 for each image, [N]: a random half of each label's videos, always the same."""
    generator, half = np.random.default_rng(0), np.zeros(len(videos), dtype=int)
    for label in (0, 1):
        own = np.unique(videos[labels == label])
        second = own[generator.permutation(len(own))[::2]]
        half[(labels == label) & np.isin(videos, second)] = 1
    return half


def _held_out(values: np.ndarray, labels: np.ndarray, learn: np.ndarray) -> float | None:
    """Balanced accuracy on the images outside the mask `learn`; unknown values count one half."""
    if any(not (labels[half] == label).any() for half in (learn, ~learn) for label in (0, 1)):
        return None
    real, fake = (_shares(values[learn & (labels == label)]) for label in (0, 1))
    predicted = np.array([1 + np.sign(fake.get(value, 0) - real.get(value, 0)) for value in values]) / 2
    right = np.where(labels == 1, predicted, 1 - predicted)
    return float(np.mean([right[~learn & (labels == label)].mean() for label in (0, 1)]))


def _most_predictive(values: np.ndarray, labels: np.ndarray) -> tuple[str, float, float]:
    """The value whose shares of the real and the fake images differ most, and these shares."""
    real, fake = (_shares(values[labels == label]) for label in (0, 1))
    value = max(sorted({*real, *fake}), key=lambda value: abs(fake.get(value, 0) - real.get(value, 0)))
    return value, real.get(value, 0.0), fake.get(value, 0.0)


def _shares(values: np.ndarray) -> dict[str, float]:
    return {str(value): count / len(values) for value, count in Counter(values.tolist()).items()}
