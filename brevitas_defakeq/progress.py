"""How far a run is, told to whoever listens, and what it has computed."""

from collections.abc import Callable
from dataclasses import dataclass, field

#: Called with a stage's name, how much of it is done and how much there is.
ProgressCallback = Callable[[str, int, int], None]


def silent(stage: str, done: int, total: int) -> None:
    """Listens to nothing."""


@dataclass
class Meter:
    """Compute in units of one float pass over all calibration images; forward and backward count 3.

    Attributes:
        images: calibration images, the unit.
        by_stage: image passes so far, by stage.
    """

    images: int
    by_stage: dict[str, float] = field(default_factory=dict)

    def add(self, stage: str, images: float, share: float = 1.0, *, training: bool = False) -> None:
        """``images`` images through ``share`` of the network's multiply-accumulates."""
        work = images * share * (3.0 if training else 1.0)
        self.by_stage[stage] = self.by_stage.get(stage, 0.0) + work

    def passes(self) -> float:
        return sum(self.by_stage.values()) / max(1, self.images)
