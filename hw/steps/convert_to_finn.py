"""Step "convert": from QONNX to FINN, with integer weights and thresholds for every activation quantizer."""

import numpy as np
from finn.transformation.qonnx.convert_qonnx_to_finn import ConvertQONNXtoFINN
from finn.transformation.qonnx.quant_act_to_multithreshold import default_filter_function_generator
from finn.transformation.streamline.absorb import AbsorbScalarBiasIntoMultiThreshold
from finn.transformation.streamline.extract_norm_scale_bias import ExtractNormScaleBias
from onnx import NodeProto
from qonnx.core.modelwrapper import ModelWrapper

from hw.finn_quirks import WIDEST_THRESHOLDS, set_threshold_layouts_
from hw.steps.fixpoint import NodeRewrite, apply_passes, refresh_names_and_types
from hw.steps.graph_edits import constant_input, only_consumer


def convert_to_finn(model: ModelWrapper) -> ModelWrapper:
    """Turn Quant nodes into integer weights, or thresholds followed by an integer offset and a scale."""
    given = {node.input[1] for node in model.get_nodes_by_op_type("MultiThreshold")}
    quantizers = default_filter_function_generator(WIDEST_THRESHOLDS)
    model = apply_passes(model, (ConvertQONNXtoFINN(quantizers), ExtractNormScaleBias()))
    set_threshold_layouts_(model)
    for node in model.get_nodes_by_op_type("MultiThreshold"):
        _widen_(model, node, rounded=node.input[1] not in given)
    # before scales move: afterwards the offset of a signed quantizer is no longer an integer
    return refresh_names_and_types(
        apply_passes(model, (AbsorbScalarBiasIntoMultiThreshold(1), NodeRewrite(_absorb_clip)))
    )


def _widen_(model: ModelWrapper, node: NodeProto, *, rounded: bool) -> None:
    """Keep thresholds in float64 until they are integers: float32 puts some on the wrong side of an integer.

    Args:
        rounded: whether FINN made them of a quantizer; they are then at half steps of its scale, and a value
            at a half step goes to the even side, as in the quantizer.
    """
    levels = model.get_initializer(node.input[1]).astype(np.float64)
    if rounded:
        scale = np.broadcast_to(_scale_behind(model, node).reshape(-1, 1), (len(levels), 1))
        below = np.round(levels / scale - 0.5)
        levels = (below + 0.5) * scale
        levels = np.where(below % 2 == 0, np.nextafter(levels, np.inf), levels)
    model.set_initializer(node.input[1], levels)


def _scale_behind(model: ModelWrapper, node: NodeProto) -> np.ndarray:
    """The scale of the quantizer that became thresholds: the Mul after them or after their offset."""
    consumer = only_consumer(model, node.output[0])
    if consumer is not None and consumer.op_type == "Add" and constant_input(model, consumer) is not None:
        consumer = only_consumer(model, consumer.output[0])
    scale = None if consumer is None or consumer.op_type != "Mul" else constant_input(model, consumer)
    return np.ones(1) if scale is None else scale.astype(np.float64)


def _absorb_clip(model: ModelWrapper, node: NodeProto) -> bool:
    """Absorb Clip(x, low, high) into thresholds: always reached up to low, never reached above high."""
    if node.op_type not in ("Clip", "Relu"):
        return False
    thresholds = only_consumer(model, node.output[0])
    if thresholds is None or thresholds.op_type != "MultiThreshold":
        return False
    low, high = _bounds(model, node)
    levels = model.get_initializer(thresholds.input[1]).copy()
    always, never = levels <= low, levels > high
    largest = np.finfo(np.float32).max
    levels[always], levels[never] = -largest, largest
    model.set_initializer(thresholds.input[1], levels)
    thresholds.input[0] = node.input[0]
    model.graph.node.remove(node)
    return True


def _bounds(model: ModelWrapper, node: NodeProto) -> tuple[float, float]:
    """Lower and upper bound of a Clip or Relu."""
    if node.op_type == "Relu":
        return 0.0, np.inf
    low, high = (model.get_initializer(name) if name else None for name in [*node.input[1:], "", ""][:2])
    return -np.inf if low is None else float(low), np.inf if high is None else float(high)
