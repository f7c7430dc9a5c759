"""Flips: the verdicts that a compressed detector changes, as reports and model cards hold them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from brevitas_defakeq.runtime.json_records import is_count, is_number, plain, require


@dataclass(frozen=True, kw_only=True)
class Flips:
    """How many verdicts differ from the float detector's, both at the float detector's threshold.

    ``count`` of ``n`` images or videos; ``share`` is count / n and ``interval`` its 95 % Wilson interval
    (low, high), 0..1; ``threshold`` is on the logit. Raises UserError for values that contradict each other.
    """

    count: int
    n: int
    share: float
    interval: tuple[float, float]
    threshold: float

    def __post_init__(self) -> None:
        require(is_count(self.n) and self.n > 0, "flips.n", self.n, "a whole number from 1 on")
        counts = is_count(self.count) and self.count <= self.n
        require(counts, "flips.count", self.count, f"a whole number from 0 to n, {self.n}")
        share = self.count / self.n
        fits = is_number(self.share) and math.isclose(self.share, share, abs_tol=1e-9)
        require(fits, "flips.share", self.share, f"count / n, {share:g}")
        interval = self.interval
        pair = isinstance(interval, list | tuple) and len(interval) == 2 and all(map(is_number, interval))
        around = pair and 0 <= interval[0] <= self.share <= interval[1] <= 1
        require(around, "flips.interval", interval, "[low, high] around the share, within 0 to 1")
        require(is_number(self.threshold), "flips.threshold", self.threshold, "a number, on the logit")

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON; the inverse of ``json_records.record``."""
        content: dict[str, Any] = plain(asdict(self))
        return content
