"""What a method makes of a detector, and the search for how much has to go for a size."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.compression.stored_file import file_bytes
from brevitas_defakeq.utils.errors import UserError

#: Largest share by which the bytes may stay below the target.
TOLERANCE = 0.01


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


@dataclass(frozen=True)
class Removal:
    """What a method can take away: units, the least missed first.

    Attributes:
        name: of the method.
        count: number of units.
        without: indices of the units that go, int64 [n] -> the candidate without them.
    """

    name: str
    count: int
    without: Callable[[Tensor], Candidate]


def of_size(removal: Removal, target: int) -> tuple[Candidate, float]:
    """The candidate whose file has ``target`` bytes or up to 1 % less, and the share of units that are gone.

    Bisection over how many of the first units go. Where the last of them is too large a step (a head of a
    small network), it goes before all others and the search is repeated, which gives back some of the others.

    Raises:
        UserError: the method cannot reach that size.
    """
    order = torch.arange(removal.count)
    least = file_bytes(removal.without(order).finished())
    most = file_bytes(removal.without(order[:0]).finished())
    lowest = target * (1 - TOLERANCE)
    if target < least:
        raise UserError(
            f"{removal.name} needs at least {least:,} bytes; {target:,} were asked for, so raise --bytes"
        )
    if most < lowest:
        raise UserError(
            f"{removal.name} takes {most:,} bytes at most; {target:,} were asked for, so lower --bytes"
        )
    moved: set[int] = set()
    while True:
        size, gone, candidate = _first_within(removal, order, target)
        if size >= lowest:
            return candidate, gone / removal.count
        last = int(order[gone - 1])
        if last in moved:
            raise UserError(
                f"the units of {removal.name} are too large for {target:,} bytes within 1 %; change --bytes"
            )
        moved.add(last)
        order = torch.cat([order[gone - 1 : gone], order[: gone - 1], order[gone:]])


def _first_within(removal: Removal, order: Tensor, target: int) -> tuple[int, int, Candidate]:
    """The fewest of the first units without which the file is within the target: its bytes, their number."""
    low, high = 0, len(order)
    while high - low > 1:
        middle = (low + high) // 2
        within = file_bytes(removal.without(order[:middle]).finished()) <= target
        low, high = (low, middle) if within else (middle, high)
    for gone in (low, high):
        candidate = removal.without(order[:gone])
        size = file_bytes(candidate.finished())
        if size <= target:
            break
    return size, gone, candidate
