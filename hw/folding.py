"""How much of each layer works at once: to a rate, or as fast as a device allows."""

from brevitas_defakeq.utils.errors import UserError
from hw.boards import Board
from hw.finn_quirks import FOLDED_HERE

#: Bits of weights that a processing element may take at once: FINN's default, and its largest.
_WEIGHT_WIDTHS = (36, 8191)
#: The search for the fastest folding that fits ends when it is known as closely as this.
_CLOSE = 1.03
_NEVER = 1 << 62
#: Depths from which on a memory of thresholds may go to block RAM; 0: none does.
_DEPTHS = (0, 256, 512, 1024, 2048, 4096, 8192)
_DEEPEST = 1 << 24


def fold_to_rate_(model, board: Board, fps: float) -> None:
    """Fold a specialized graph to a rate at the board's clock. UserError names the highest there is."""
    cycles = int(board.clock_mhz * 1e6 / fps)
    if cycles >= 1 and fold_(model, cycles) <= cycles:
        place_thresholds_(model, board)
        return
    highest = board.frames_per_second(fold_(model, 1))
    raise UserError(
        f"--fps {fps:g}: no folding reaches it; the highest at {board.clock_mhz:g} MHz is {highest:.0f}"
    )


def fold_to_device_(model, board: Board) -> None:
    """The fastest folding whose estimates stay within the board's margins (`hw.boards.MARGIN`).

    UserError says what the smallest folding takes where that is too much already.
    """
    slow = fold_(model, _NEVER)
    over = _excess(model, board)
    if over:
        raise UserError(
            f"--board {board.name}: too small for the network, {over}; take a larger board, or fewer bits "
            "for activations, whose thresholds double with each"
        )
    fast = fold_(model, 1)
    if not _excess(model, board):
        return
    while slow > fast * _CLOSE:  # slow fits, fast does not
        middle = int((slow * fast) ** 0.5)
        reached = fold_(model, middle)
        if _excess(model, board):
            fast = max(middle, fast + 1)
        else:
            slow = min(slow - 1, reached, middle) if reached <= middle else middle
    fold_(model, slow)
    if _excess(model, board):
        fold_(model, slow + 1)


def _excess(model, board: Board) -> str:
    """What a folded graph takes beyond the board's margins, in words; empty where it fits."""
    return excess(place_thresholds_(model, board), board)


def excess(taken: dict[str, int], board: Board) -> str:
    """What resources are beyond the board's margins, in words; empty where they fit."""
    limits = board.limits()
    return ", ".join(
        f"{taken[name]:,} {name} of {limits[name]:,}" for name in limits if taken[name] > limits[name]
    )


def place_thresholds_(model, board: Board) -> dict[str, int]:
    """Memories of thresholds from some depth on go to block RAM, others to LUTs: what leaves most free.

    FINN by itself leaves that to Vivado and counts LUTs: ten times as many in a network of 8-bit activations.

    Returns:
        What the whole graph takes then.
    """
    from qonnx.custom_op.registry import getCustomOp

    from hw.estimate import totals

    layers = [node for node in model.graph.node if node.op_type == "Thresholding_rtl"]
    rest = totals([node for node in model.graph.node if node.op_type != "Thresholding_rtl"], board.part)
    limits, best = board.limits(), None
    for depth in _DEPTHS:
        for node in layers:
            layer = getCustomOp(node)
            layer.set_nodeattr("depth_trigger_bram", depth)
            # without it, FINN would put into UltraRAM what is deep enough for block RAM
            layer.set_nodeattr("depth_trigger_uram", _DEEPEST if depth else 0)
        taken = {name: rest[name] + count for name, count in totals(layers, board.part).items()}
        fullest = max(taken[name] / max(1, limits[name]) for name in taken)
        if best is None or fullest < best[0]:
            best = fullest, depth, taken
    for node in layers:
        getCustomOp(node).set_nodeattr("depth_trigger_bram", best[1])
        getCustomOp(node).set_nodeattr("depth_trigger_uram", _DEEPEST if best[1] else 0)
    return best[2]


def fold_(model, cycles: int) -> int:
    """Fold every layer of a specialized graph to at most ``cycles`` a frame, in place.

    Returns:
        The cycles of the slowest layer; above ``cycles`` where no folding reaches them.
    """
    from finn.transformation.fpgadataflow.set_folding import SetFolding

    slowest = 0
    for width in _WEIGHT_WIDTHS:
        # a second pass would slow everything down to what can be no faster; here the caller decides that
        SetFolding(cycles, width, two_pass_relaxation=False).apply(model)
        _fold_rest_(model, cycles)
        slowest = max(layer_cycles(model).values())
        if slowest <= cycles:
            break
    return slowest


def layer_cycles(model) -> dict[str, int]:
    """Cycles a frame of every hardware layer."""
    from qonnx.custom_op.registry import getCustomOp

    return {
        node.name: int(getCustomOp(node).get_exp_cycles())
        for node in model.graph.node
        if node.domain.startswith("finn.custom_op.fpgadataflow")
    }


def _fold_rest_(model, cycles: int) -> None:
    """What `SetFolding` does not know: the narrowest parallelism of the last axis within ``cycles``."""
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
