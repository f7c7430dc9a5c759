"""Step "fold": set the parallelism of every layer."""

from qonnx.core.modelwrapper import ModelWrapper

from hw.boards import Board
from hw.folding import fold_to_device_, fold_to_rate_
from hw.steps.fixpoint import refresh_names_and_types


def fold_layers(model: ModelWrapper, board: Board, fps: float | None) -> ModelWrapper:
    """Fold to ``fps`` frames per second at the board's clock, or (None) as fast as the board allows."""
    if fps is None:
        fold_to_device_(model, board)
    else:
        fold_to_rate_(model, board, fps)
    return refresh_names_and_types(model)
