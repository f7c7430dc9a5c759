"""The decision threshold that a compressed detector takes over from its float original."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from brevitas_defakeq.evaluation.metrics import finite
from brevitas_defakeq.utils.errors import UserError


def carry_threshold(
    float_scores: ArrayLike, quantized_scores: ArrayLike, float_threshold: float = 0.0
) -> float:
    """The threshold on quantized scores that as many images exceed as exceed the float threshold.

    Give the scores of the real images alone where labels are known: then the false-positive rate is what
    stays. All scores between two neighbours give that rate; of these the one nearest to the float threshold
    is taken, so a close copy keeps the threshold itself.
    """
    old = np.sort(finite(float_scores, "float scores"))
    new = np.sort(finite(quantized_scores, "quantized scores"))
    if len(old) != len(new):
        raise UserError(
            f"{len(old)} float scores and {len(new)} quantized ones: give both for the same images"
        )
    below = int(np.searchsorted(old, float_threshold, side="right"))
    lowest = new[below - 1] if below else -np.inf
    highest = np.nextafter(new[below], -np.inf) if below < len(new) else np.inf
    return float(min(max(float_threshold, lowest), highest))
