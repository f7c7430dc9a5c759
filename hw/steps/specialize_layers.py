"""Step 7: RTL or HLS for every layer, as the device allows; widths anew, since the variants differ."""

from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers
from qonnx.core.modelwrapper import ModelWrapper

from brevitas_defakeq.utils.errors import UserError
from hw.boards import BOARDS, Board
from hw.finn_quirks import VERSAL_ONLY
from hw.steps.fixpoint import refresh_names_and_types
from hw.steps.map_to_hardware import minimized


def specialize_layers(model: ModelWrapper, board: Board) -> ModelWrapper:
    """Choose RTL or HLS for every layer, as FINN does for the board's device.

    Raises UserError for layers that the device does not support.
    """
    lacking = [node.name for node in model.graph.node if node.op_type in VERSAL_ONLY]
    if lacking and not board.versal:
        versal = ", ".join(known.name for known in BOARDS.values() if known.versal)
        raise UserError(
            f"--board {board.name}: {', '.join(lacking)} (GELU and the like) exist for Versal devices only; "
            f"choose {versal}, or a network with ReLU"
        )
    return minimized(refresh_names_and_types(model.transform(SpecializeLayers(board.part))))
