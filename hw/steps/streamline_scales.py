"""Step "streamline": move scales and offsets into thresholds, so that layers exchange integers only.

The passes follow the data: past the layer, past the fork, past the join. FINN's own streamlining of residual
networks undoes at the fork what it did at the join, and never ends.
"""

from finn.transformation.streamline import absorb, reorder
from finn.transformation.streamline.collapse_repeated import CollapseRepeatedAdd, CollapseRepeatedMul
from finn.transformation.streamline.round_thresholds import RoundAndClipThresholds
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.double_to_single_float import DoubleToSingleFloat

from hw.steps.class_token import move_scale_past_token
from hw.steps.fixpoint import NodeRewrite, apply_passes, apply_until_fixpoint, refresh_names_and_types
from hw.steps.sum_rewrites import move_past_sum, move_scale_past_concat
from hw.steps.threshold_rewrites import hoist_thresholds, move_integer_offset_before_scale


class MoveScalarPastSelection(reorder.MoveScalarLinearPastInvariants):
    """FINN's pass, extended by Gather, the selection of a token."""

    SUPPORTED_INVARIANTS = frozenset({*reorder.MoveScalarLinearPastInvariants.SUPPORTED_INVARIANTS, "Gather"})


def streamline_scales(model: ModelWrapper) -> ModelWrapper:
    """Streamline a graph; scales of a residual's branches that differ stay as floating-point products."""
    passes = (
        # thresholds absorb one factor at a time: they are float64, products of factors are not
        NodeRewrite(hoist_thresholds), NodeRewrite(move_scale_past_token),
        NodeRewrite(move_integer_offset_before_scale), absorb.AbsorbAddIntoMultiThreshold(),
        absorb.AbsorbMulIntoMultiThreshold(), absorb.AbsorbAddIntoMultiThreshold(),
        absorb.AbsorbMulIntoMultiThreshold(), CollapseRepeatedMul(), CollapseRepeatedAdd(),
        reorder.MoveAddPastMul(), reorder.MoveScalarAddPastMatMul(), reorder.MoveAddPastConv(),
        reorder.MoveScalarMulPastMatMul(), reorder.MoveScalarMulPastConv(), reorder.MoveMulPastDWConv(),
        reorder.MoveMulPastMaxPool(), NodeRewrite(move_scale_past_concat),
        reorder.MoveScalarLinearPastSplit(), MoveScalarPastSelection(),
        CollapseRepeatedAdd(), CollapseRepeatedMul(), NodeRewrite(move_integer_offset_before_scale),
        absorb.AbsorbAddIntoMultiThreshold(), absorb.FactorOutMulSignMagnitude(),
        absorb.AbsorbMulIntoMultiThreshold(), absorb.Absorb1BitMulIntoMatMul(),
        absorb.Absorb1BitMulIntoConv(), reorder.MoveLinearPastFork(), NodeRewrite(move_past_sum),
    )  # fmt: skip
    model = apply_until_fixpoint(model, passes, "streamline")
    return refresh_names_and_types(apply_passes(model, (RoundAndClipThresholds(), DoubleToSingleFloat())))
