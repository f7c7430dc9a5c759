"""Step 9: transposes of attention heads become the two kinds that exist as hardware, folded as they were."""

from finn.transformation.fpgadataflow.annotate_cycles import AnnotateCycles
from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers
from finn.transformation.fpgadataflow.transpose_decomposition import (
    InferInnerOuterShuffles,
    ShuffleDecomposition,
)
from qonnx.core.modelwrapper import ModelWrapper

from hw.boards import Board
from hw.steps.fixpoint import apply_passes, refresh_names_and_types


def decompose_transposes(model: ModelWrapper, board: Board) -> ModelWrapper:
    """FINN does this behind the folding, since the folding decides how a transpose is taken apart."""
    if model.get_nodes_by_op_type("Shuffle"):
        passes = (ShuffleDecomposition(), InferInnerOuterShuffles(), SpecializeLayers(board.part))
        model = apply_passes(model, passes)
    return refresh_names_and_types(model).transform(AnnotateCycles())
