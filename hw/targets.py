"""The targets of `hw/build.py`: those that exist and those that are planned."""

from dataclasses import dataclass

from brevitas_defakeq.utils.errors import UserError
from hw.boards import Board


@dataclass(frozen=True)
class Target:
    """A target of a build.

    Attributes:
        makes: the result, for the help and messages.
        ready: False for planned targets.
    """

    makes: str
    ready: bool = True


TARGETS = {
    "estimate": Target("cycles, frames per second and resources of every layer"),
    "rtlsim": Target("a simulation of the stitched RTL", ready=False),
    "ecp5": Target("a bitstream for a Lattice ECP5 with open tools", ready=False),
    "zynq": Target("a bitstream and driver for Zynq boards with Vivado"),
    "versal": Target("a bitstream and driver for Versal boards with Vivado"),
}


def check_target(name: str, board: Board) -> None:
    """Raises UserError for an unknown or planned target, or one that the board does not support."""
    if name not in TARGETS:
        raise UserError(f"--target {name}: unknown; choose one of {', '.join(TARGETS)}")
    if not TARGETS[name].ready:
        ready = ", ".join(known for known, target in TARGETS.items() if target.ready)
        raise UserError(
            f"--target {name}: {TARGETS[name].makes} is not implemented yet; choose one of {ready}"
        )
    if board.target == "ecp5":
        raise UserError(
            f"--board {board.name}: only --target ecp5 builds for it, which is not implemented yet"
        )
    if name != "estimate" and name != board.target:
        raise UserError(f"--target {name}: {board.name} needs --target {board.target}")
