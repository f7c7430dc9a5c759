"""Step "lower": convolutions become matrix products, images channels last, and transposes are absorbed."""

from finn.transformation.fpgadataflow.convert_to_hw.global_acc_pool import InferGlobalAccPoolLayer
from finn.transformation.streamline import absorb, reorder
from finn.transformation.streamline.remove import RemoveIdentityReshape, RemoveIdentityTranspose
from finn.transformation.streamline.round_thresholds import RoundAndClipThresholds
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.infer_data_layouts import InferDataLayouts
from qonnx.transformation.lower_convs_to_matmul import LowerConvsToMatMul
from qonnx.transformation.make_input_chanlast import MakeInputChannelsLast

from hw.steps.data_movement import fuse_data_movement
from hw.steps.fixpoint import NodeRewrite, apply_passes, apply_until_fixpoint, refresh_names_and_types
from hw.steps.flatten_rewrites import move_flatten_down
from hw.steps.layout_rewrites import (
    move_transpose_past_join,
    move_transpose_past_split,
    pool_channels_last,
)


def lower_convolutions(model: ModelWrapper) -> ModelWrapper:
    """Lower a graph; its input becomes channels last, [1, H, W, C], the usual layout of images in memory."""
    # pooling gets its layer here, so that its divisor moves into the thresholds after it
    pooling = InferGlobalAccPoolLayer()
    model = apply_passes(model, (InferDataLayouts(), pooling, MakeInputChannelsLast(), LowerConvsToMatMul()))
    passes = (
        NodeRewrite(pool_channels_last), absorb.AbsorbTransposeIntoMultiThreshold(),
        reorder.MoveScalarLinearPastInvariants(), absorb.AbsorbMulIntoMultiThreshold(),
        reorder.MoveTransposePastEltwise(), NodeRewrite(move_transpose_past_join),
        NodeRewrite(move_transpose_past_split),
        reorder.MoveTransposePastFork(), absorb.AbsorbConsecutiveTransposes(),
        RemoveIdentityTranspose(), NodeRewrite(fuse_data_movement), RemoveIdentityReshape(),
        NodeRewrite(move_flatten_down),
    )  # fmt: skip
    model = apply_until_fixpoint(model, passes, "lower")
    return refresh_names_and_types(apply_passes(model, (RoundAndClipThresholds(), InferDataLayouts())))
