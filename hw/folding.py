"""Folding, the parallelism of each layer: to a rate, or as fast as a device allows."""

from typing import TYPE_CHECKING

from brevitas_defakeq.utils.errors import UserError
from hw.boards import Board
from hw.finn_quirks import FOLDED_HERE

if TYPE_CHECKING:
    from qonnx.core.modelwrapper import ModelWrapper

#: Widths of the weight streams of a processing element, in bits, tried in order: FINN's default and its
#: maximum.
_WEIGHT_WIDTHS = (36, 8191)
#: The search for the fastest folding that fits ends when its bounds are within this factor.
_SEARCH_FACTOR = 1.03
#: More cycles than any layer takes: no parallelism at all.
_UNLIMITED_CYCLES = 1 << 62
#: Depths tried as the least for which a threshold memory goes to block RAM; 0: none does.
_BRAM_DEPTHS = (0, 256, 512, 1024, 2048, 4096, 8192)
_NO_URAM = 1 << 24


def fold_to_rate_(model: "ModelWrapper", board: Board, fps: float) -> None:
    """Fold a specialized graph to ``fps`` frames per second at the board's clock.

    Raises UserError, which names the highest rate, where no folding reaches it.
    """
    cycles = int(board.clock_mhz * 1e6 / fps)
    if cycles >= 1 and fold_(model, cycles) <= cycles:
        place_thresholds_(model, board)
        return
    highest = board.frames_per_second(fold_(model, 1))
    raise UserError(
        f"--fps {fps:g}: no folding reaches it; the highest rate at {board.clock_mhz:g} MHz is {highest:.0f}"
    )


def fold_to_device_(model: "ModelWrapper", board: Board) -> None:
    """Fold a specialized graph as fast as the board's margins (`hw.boards.MARGIN`) allow, by the estimates.

    Raises UserError where even the smallest folding exceeds them.
    """
    slow = fold_(model, _UNLIMITED_CYCLES)
    over = _excess(model, board)
    if over:
        raise UserError(
            f"--board {board.name}: too small for the network, which needs {over}; use a larger board or "
            "fewer activation bits (each bit doubles the thresholds)"
        )
    fast = fold_(model, 1)
    if not _excess(model, board):
        return
    while slow > fast * _SEARCH_FACTOR:  # slow fits, fast does not
        middle = int((slow * fast) ** 0.5)
        reached = fold_(model, middle)
        if _excess(model, board):
            fast = max(middle, fast + 1)
        else:
            slow = min(slow - 1, reached, middle) if reached <= middle else middle
    fold_(model, slow)
    if _excess(model, board):
        fold_(model, slow + 1)


def _excess(model: "ModelWrapper", board: Board) -> str:
    """``excess`` of a folded graph after its thresholds are placed."""
    return excess(place_thresholds_(model, board), board)


def excess(taken: dict[str, int], board: Board) -> str:
    """The resources beyond the board's margins as text, such as "900 lut of 700"; empty if all fit."""
    limits = board.limits()
    return ", ".join(
        f"{taken[name]:,} {name} of {limits[name]:,}" for name in limits if taken[name] > limits[name]
    )


def place_thresholds_(model: "ModelWrapper", board: Board) -> dict[str, int]:
    """Put threshold memories into block RAM from the depth on that leaves the fullest resource emptiest.

    FINN leaves this to Vivado and counts LUTs only, ten times as many in a network with 8-bit activations.

    Returns:
        the resources of the whole graph.
    """
    from qonnx.custom_op.registry import getCustomOp

    from hw.estimate import totals

    layers = [node for node in model.graph.node if node.op_type == "Thresholding_rtl"]
    rest = totals([node for node in model.graph.node if node.op_type != "Thresholding_rtl"], board.part)
    limits = board.limits()
    best: tuple[float, int, dict[str, int]] = float("inf"), 0, {}
    for depth in _BRAM_DEPTHS:
        for node in layers:
            layer = getCustomOp(node)
            layer.set_nodeattr("depth_trigger_bram", depth)
            # otherwise FINN would put memories that are deep enough for block RAM into UltraRAM
            layer.set_nodeattr("depth_trigger_uram", _NO_URAM if depth else 0)
        taken = {name: rest[name] + count for name, count in totals(layers, board.part).items()}
        fullest = max(taken[name] / max(1, limits[name]) for name in taken)
        if fullest < best[0]:
            best = fullest, depth, taken
    for node in layers:
        getCustomOp(node).set_nodeattr("depth_trigger_bram", best[1])
        getCustomOp(node).set_nodeattr("depth_trigger_uram", _NO_URAM if best[1] else 0)
    return best[2]


def fold_(model: "ModelWrapper", cycles: int) -> int:
    """Fold every layer of a specialized graph to at most ``cycles`` clock cycles per frame, in place.

    Returns:
        the cycles of the slowest layer; above ``cycles`` where no folding reaches them.
    """
    from finn.transformation.fpgadataflow.set_folding import SetFolding

    slowest = 0
    for width in _WEIGHT_WIDTHS:
        # FINN's second pass would relax all layers to the slowest one; here the caller decides that
        SetFolding(cycles, width, two_pass_relaxation=False).apply(model)
        _fold_remaining_(model, cycles)
        slowest = max(layer_cycles(model).values())
        if slowest <= cycles:
            break
    return slowest


def layer_cycles(model: "ModelWrapper") -> dict[str, int]:
    """Clock cycles per frame of every hardware layer, by node name."""
    from qonnx.custom_op.registry import getCustomOp

    return {
        node.name: int(getCustomOp(node).get_exp_cycles())
        for node in model.graph.node
        if node.domain.startswith("finn.custom_op.fpgadataflow")
    }


def _fold_remaining_(model: "ModelWrapper", cycles: int) -> None:
    """Fold the layers that `SetFolding` skips: the least parallelism of the last axis within ``cycles``."""
    from finn.transformation.fpgadataflow.set_folding import divisors
    from qonnx.custom_op.registry import getCustomOp

    for node in model.graph.node:
        attribute = FOLDED_HERE.get(node.op_type)
        if attribute is None:
            continue
        layer = getCustomOp(node)
        for value in divisors(int(layer.get_normal_output_shape()[-1])):
            layer.set_nodeattr(attribute, value)
            if layer.get_exp_cycles() <= cycles:
                break
