"""The share of verdicts that change, expected from errors and margins of few images.

An image flips if the error of its logit exceeds its distance from the threshold. Of few images hardly one
does, but many nearly do: each image is paired with the errors of those whose float logits are nearest, around
their line of least squares and scaled by how they grow with the distance from the threshold (``a + b
|margin|``). Errors that grow with the logit,
as those of quantized activations do, stay where they belong. On six quantized detectors 256 images gave the
share of 5,000 with .6 to .7 times the noise of counting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from brevitas_defakeq.evaluation.metrics import finite

#: Errors that an image is paired with.
_NEIGHBOURS = 32
#: Images that are looked at, evenly spread over the float logits: of more, counting says enough.
_MOST = 20_000
#: Images that counting would need for the same noise, for each image here: 2.0 to 2.8 were measured.
_WORTH = 2.0


@dataclass(frozen=True, kw_only=True)
class ExpectedFlips:
    """The expected share of flips among images like the ``n`` given ones, with a 95 % interval, 0..1."""

    share: float
    interval: tuple[float, float]
    n: int

    def to_json(self) -> dict[str, Any]:
        """``share``, ``interval`` [low, high], ``n``."""
        return {"share": self.share, "interval": list(self.interval), "n": self.n}


def expected_flips(float_scores: ArrayLike, other_scores: ArrayLike, threshold: float = 0.0) -> ExpectedFlips:
    """Expected flips at the float detector's threshold; no labels are needed.

    Args:
        float_scores, other_scores: fake logits [N] of the same images.

    Raises:
        UserError: no scores, or some that are not finite.
    """
    reference, other = finite(float_scores, "float scores"), finite(other_scores, "other scores")
    order = np.argsort(reference, kind="stable")[:: -(-len(reference) // _MOST)]
    margins, errors = reference[order] - threshold, (other - reference)[order]
    count = min(_NEIGHBOURS, len(margins))
    first = np.clip(np.arange(len(margins)) - count // 2, 0, len(margins) - count)
    trend = _trend(margins, errors)
    sizes = _usual_sizes(margins, errors - trend)
    scaled = np.lib.stride_tricks.sliding_window_view((errors - trend) / sizes, count)[first]  # [N, count]
    found = (margins + trend)[:, None] + sizes[:, None] * scaled
    flipped = (found > 0) != (margins > 0)[:, None]
    share = float(flipped.mean())
    return ExpectedFlips(share=share, interval=wilson(share, _WORTH * len(margins)), n=len(margins))


def _trend(margins: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """The line of least squares through the errors [N]: an offset and a gain of the logit."""
    centred = margins - margins.mean()
    power = float(centred @ centred)
    slope = float(centred @ errors) / power if power > 0 else 0.0
    return errors.mean() + slope * centred


def _usual_sizes(margins: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """``a + b |margin|`` [N] with the least squared distance from the sizes of the errors, a and b >= 0."""
    from scipy.optimize import nnls

    distances = np.abs(margins)
    (constant, slope), _ = nnls(np.stack([np.ones_like(distances), distances], axis=1), np.abs(errors))
    return np.maximum(constant + slope * distances, np.finfo(np.float64).tiny)


def wilson(share: float, n: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share found in ``n`` trials (Wilson 1927); both may be fractions."""
    z = 1.959963984540054
    centre, spread = share + z * z / (2 * n), z * np.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    low, high = (centre - spread) / (1 + z * z / n), (centre + spread) / (1 + z * z / n)
    return max(0.0, float(low)), min(1.0, float(high))


def images_needed(share: float, limit: float) -> int | None:
    """Images with which the interval of an expected ``share`` would end at ``limit``; None if it never does.

    >>> images_needed(0.002, 0.005)
    1062
    """
    if share >= limit:
        return None
    few, many = 1, 2
    while wilson(share, _WORTH * many)[1] > limit:
        few, many = many, 2 * many
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (middle, many) if wilson(share, _WORTH * middle)[1] > limit else (few, middle)
    return many
