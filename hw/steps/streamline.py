"""Step 3: scales and offsets move forward and vanish into thresholds, until integers flow between layers.

The order of the passes is the order of the data: past the layer, past the fork, past the join. FINN's own
streamlining of residual networks undoes at the fork what it did at the join, and never ends.
"""

from finn.transformation.streamline import absorb, reorder
from finn.transformation.streamline.collapse_repeated import CollapseRepeatedAdd, CollapseRepeatedMul
from finn.transformation.streamline.round_thresholds import RoundAndClipThresholds
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.double_to_single_float import DoubleToSingleFloat

from hw.steps.joins import past_sum
from hw.steps.rounds import OneByOne, applied, named, until_rest
from hw.steps.thresholds import move_up, whole_offset
from hw.steps.tokens import scale_past_token


class MoveScalarPastSelection(reorder.MoveScalarLinearPastInvariants):
    """FINN's pass for one more layer that leaves scalars alone: the choice of a token."""

    SUPPORTED_INVARIANTS = frozenset({*reorder.MoveScalarLinearPastInvariants.SUPPORTED_INVARIANTS, "Gather"})


def streamline(model: ModelWrapper) -> ModelWrapper:
    """Scales of a residual's two branches must be equal, or they stay as floating-point products."""
    passes = (
        # thresholds first, one factor after the other: they are float64, products of factors are not
        OneByOne(move_up), OneByOne(scale_past_token), OneByOne(whole_offset),
        absorb.AbsorbAddIntoMultiThreshold(), absorb.AbsorbMulIntoMultiThreshold(),
        absorb.AbsorbAddIntoMultiThreshold(), absorb.AbsorbMulIntoMultiThreshold(),
        CollapseRepeatedMul(), CollapseRepeatedAdd(),
        reorder.MoveAddPastMul(), reorder.MoveScalarAddPastMatMul(), reorder.MoveAddPastConv(),
        reorder.MoveScalarMulPastMatMul(), reorder.MoveScalarMulPastConv(), reorder.MoveMulPastDWConv(),
        reorder.MoveMulPastMaxPool(), reorder.MoveMulPastJoinConcat(), MoveScalarPastSelection(),
        CollapseRepeatedAdd(), CollapseRepeatedMul(),
        OneByOne(whole_offset), absorb.AbsorbAddIntoMultiThreshold(), absorb.FactorOutMulSignMagnitude(),
        absorb.AbsorbMulIntoMultiThreshold(), absorb.Absorb1BitMulIntoMatMul(),
        absorb.Absorb1BitMulIntoConv(),
        reorder.MoveLinearPastFork(), OneByOne(past_sum),
    )  # fmt: skip
    model = until_rest(model, passes, "streamline")
    return named(applied(model, (RoundAndClipThresholds(), DoubleToSingleFloat())))
