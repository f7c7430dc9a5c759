"""The progress callback, and the count of computed image passes."""

from collections.abc import Callable
from dataclasses import dataclass, field

#: Called with (stage, done, total).
ProgressCallback = Callable[[str, int, int], None]


def silent(stage: str, done: int, total: int) -> None:
    """Ignore the progress."""


@dataclass
class Meter:
    """Compute in float passes over all calibration images; forward and backward together count 3.

    Attributes:
        images: number of calibration images: the images of one pass.
        by_stage: image passes so far, by stage.
    """

    images: int
    by_stage: dict[str, float] = field(default_factory=dict)

    def add(self, stage: str, images: float, share: float = 1.0, *, training: bool = False) -> None:
        """``images`` images through ``share`` of the network's multiply-accumulates."""
        work = images * share * (3.0 if training else 1.0)
        self.by_stage[stage] = self.by_stage.get(stage, 0.0) + work

    def passes(self) -> float:
        """All work so far."""
        return sum(self.by_stage.values()) / max(1, self.images)
