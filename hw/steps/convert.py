"""Step 2: from QONNX to FINN's form: integer weights, thresholds for every quantizer of activations."""

import numpy as np
from finn.transformation.qonnx.convert_qonnx_to_finn import ConvertQONNXtoFINN
from finn.transformation.qonnx.quant_act_to_multithreshold import default_filter_function_generator
from finn.transformation.streamline.absorb import AbsorbScalarBiasIntoMultiThreshold
from finn.transformation.streamline.extract_norm_scale_bias import ExtractNormScaleBias
from onnx import NodeProto
from qonnx.core.modelwrapper import ModelWrapper

from hw.finn_quirks import WIDEST_THRESHOLDS, set_threshold_layouts_
from hw.steps.graph import only_consumer
from hw.steps.rounds import OneByOne, applied, named


def convert(model: ModelWrapper) -> ModelWrapper:
    """Quant nodes become integer weights, or thresholds with a whole offset and a scale behind them."""
    quantizers = default_filter_function_generator(WIDEST_THRESHOLDS)
    model = applied(model, (ConvertQONNXtoFINN(quantizers), ExtractNormScaleBias()))
    set_threshold_layouts_(model)
    # before scales move: afterwards the offset of a signed quantizer is no whole number any more
    model = applied(model, (AbsorbScalarBiasIntoMultiThreshold(1), OneByOne(_absorb_clip)))
    _widen_thresholds_(model)
    return named(model)


def _widen_thresholds_(model: ModelWrapper) -> None:
    """float64, until they are rounded: scales taken up in float32 would move some past a whole number."""
    for node in model.get_nodes_by_op_type("MultiThreshold"):
        levels = model.get_initializer(node.input[1])
        model.set_initializer(node.input[1], levels.astype(np.float64))


def _absorb_clip(model: ModelWrapper, node: NodeProto) -> bool:
    """Clip(x, low, high) before thresholds: those at or below low always count, those above high never."""
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
    if node.op_type == "Relu":
        return 0.0, np.inf
    given = [model.get_initializer(name) if name else None for name in [*node.input[1:], "", ""][:2]]
    return tuple(
        default if value is None else float(value)
        for value, default in zip(given, (-np.inf, np.inf), strict=True)
    )
