"""What a method makes of a detector at one strength, and the search for the strength that a size needs."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from benchmarks.compression.stored_file import file_bytes
from brevitas_defakeq.utils.errors import UserError

#: Largest share by which the bytes may stay below the target.
TOLERANCE = 0.01
#: Halvings of the interval of strengths; beyond them neighbours differ by a unit at most.
_HALVINGS = 40


@dataclass(frozen=True)
class Candidate:
    """A compressed copy of the float detector.

    Attributes:
        model: what is trained, with the blocks of the float detector.
        finished: what of ``model`` is stored, as it is now.
    """

    model: nn.Module
    finished: Callable[[], nn.Module]

    @classmethod
    def whole(cls, model: nn.Module) -> "Candidate":
        """One that is stored as it is trained."""
        return cls(model, lambda: model)


#: Strength 0..1 -> the candidate; 0 takes nothing away, and the bytes fall with the strength.
AtStrength = Callable[[float], Candidate]


def of_size(at: AtStrength, target: int, name: str) -> tuple[Candidate, float]:
    """The candidate whose file has ``target`` bytes or up to 1 % less, by bisection, and its strength.

    Raises:
        UserError: the method cannot reach that size.
    """
    low, high = 0.0, 1.0
    most, least = file_bytes(at(low).finished()), file_bytes(at(high).finished())
    if target < least:
        raise UserError(f"{name} needs at least {least:,} bytes; {target:,} were asked for, so raise --bytes")
    if most < target * (1 - TOLERANCE):
        raise UserError(f"{name} takes {most:,} bytes at most; {target:,} were asked for, so lower --bytes")
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        candidate = at(middle)
        size = file_bytes(candidate.finished())
        if target * (1 - TOLERANCE) <= size <= target:
            return candidate, middle
        low, high = (middle, high) if size > target else (low, middle)
    raise UserError(
        f"{name} has no strength between {target * (1 - TOLERANCE):,.0f} and {target:,} bytes: "
        f"its steps are too large for a detector of this size; change --bytes (the nearest is {size:,})"
    )
