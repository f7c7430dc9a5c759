"""Step "decompose": split transposes of attention heads into the two kinds that exist as hardware."""

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
    """Decompose transposes; after folding, as in FINN, since the folding determines the decomposition."""
    if model.get_nodes_by_op_type("Shuffle"):
        passes = (ShuffleDecomposition(), InferInnerOuterShuffles(), SpecializeLayers(board.part))
        model = apply_passes(model, passes)
    return refresh_names_and_types(model).transform(AnnotateCycles())
