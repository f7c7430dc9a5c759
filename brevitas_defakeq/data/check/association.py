"""Whether something beside the face tells real from fake: file format, size, compression, source."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

#: Balanced accuracy above chance that is worth a word, unless there are too few videos to say.
_NOTABLE = 0.1


def association(
    attribute: str, values: Sequence[str], labels: np.ndarray, videos: np.ndarray
) -> dict[str, Any] | None:
    """How well an attribute predicts the label of videos that it was not learned from.

    Args:
        attribute: its name.
        values: its value for each image, [N].
        labels: 0 real, 1 fake, [N].
        videos: a number for each image's video, [N]; half of the videos predict the other half.

    Returns:
        `accuracy` (balanced, 0.5 is chance, 1 gives the label away), the value that tells most with its
        shares of the real and of the fake images, and `notable`; None where either half lacks a class.
    """
    values = np.asarray(values)
    half = _halves(videos, labels)
    scores = [_held_out(values, labels, half == learned) for learned in (0, 1)]
    if None in scores:
        return None
    accuracy = float(np.mean(scores))
    fewest = min(len(np.unique(videos[labels == label])) for label in (0, 1))
    value, real, fake = _most_telling(values, labels)
    return {
        "attribute": attribute, "accuracy": accuracy, "value": value, "share_of_real": real,
        "share_of_fake": fake, "notable": accuracy > 0.5 + max(_NOTABLE, 1 / math.sqrt(fewest)),
    }  # fmt: skip


def _halves(videos: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """0 or 1 for each image, [N]: every second video of a label, in a random order that never changes."""
    generator, half = np.random.default_rng(0), np.zeros(len(videos), dtype=int)
    for label in (0, 1):
        own = np.unique(videos[labels == label])
        second = own[generator.permutation(len(own))[::2]]
        half[(labels == label) & np.isin(videos, second)] = 1
    return half


def _held_out(values: np.ndarray, labels: np.ndarray, learn: np.ndarray) -> float | None:
    """Balanced accuracy on the images outside `learn`; a value that was not seen there counts one half."""
    if any(not (labels[part] == label).any() for part in (learn, ~learn) for label in (0, 1)):
        return None
    real, fake = (_shares(values[learn & (labels == label)]) for label in (0, 1))
    says = np.array([1 + np.sign(fake.get(value, 0) - real.get(value, 0)) for value in values]) / 2
    right = np.where(labels == 1, says, 1 - says)
    return float(np.mean([right[~learn & (labels == label)].mean() for label in (0, 1)]))


def _most_telling(values: np.ndarray, labels: np.ndarray) -> tuple[str, float, float]:
    """The value whose shares of the two classes differ most, and these shares."""
    real, fake = (_shares(values[labels == label]) for label in (0, 1))
    value = max(sorted({*real, *fake}), key=lambda value: abs(fake.get(value, 0) - real.get(value, 0)))
    return value, real.get(value, 0.0), fake.get(value, 0.0)


def _shares(values: np.ndarray) -> dict[str, float]:
    return {str(value): count / len(values) for value, count in Counter(values.tolist()).items()}
