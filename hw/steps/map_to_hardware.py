"""Step "hardware": turn every node into a FINN hardware layer with minimal bit-widths."""

from importlib import import_module
from typing import Any

from finn.transformation.fpgadataflow.minimize_accumulator_width import MinimizeAccumulatorWidth
from finn.transformation.fpgadataflow.minimize_weight_bit_width import MinimizeWeightBitWidth
from finn.transformation.streamline.absorb import AbsorbConsecutiveTransposes
from finn.transformation.streamline.round_thresholds import RoundAndClipThresholds
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.base import Transformation
from qonnx.transformation.infer_data_layouts import InferDataLayouts

from hw.steps.fixpoint import NodeRewrite, apply_passes, refresh_names_and_types
from hw.steps.flatten_rewrites import absorb_flatten

#: FINN's conversions (module, class) in the order they require. Thresholds are layers of their own (RTL
#: products have none), and no quantizer becomes a Requant. Forks are duplicated last, when consumers no
#: longer change.
_CONVERSIONS = (
    ("thresholding", "InferThresholdingLayer"),
    ("quantized_matrix_vector_activation", "InferQuantizedMatrixVectorActivation"),
    ("vector_vector_activation", "InferVectorVectorActivation"),
    ("pool", "InferPool"),
    ("conv_inp_gen", "InferConvInpGen"),
    ("pad1d", "InferPad1DLayer"),
    ("concat", "InferConcatLayer"),
    ("split", "InferSplitLayer"),
    ("elementwise_binary_operation", "InferElementwiseBinaryOperation"),
    ("relu_as_elementwise_max", "InferReLUAsElementwiseMax"),
    ("select_token", "InferSelectTokenLayer"),
    ("crop", "InferCrop"),
    ("hw_softmax", "InferHWSoftmax"),
    ("pwpolyf", "InferPWPolyFLayer"),
    ("layer_norm", "InferLayerNorm"),
    ("duplicate_streams", "InferDuplicateStreamsLayer"),
)

#: Degree of the polynomials that approximate GELU. FINN's default of 2 has errors of 6e-5, which move values
#: over thresholds; 4 has errors of 1e-6 and takes two more DSPs per processing element.
_GELU_DEGREE = 4


def map_to_hardware(model: ModelWrapper) -> ModelWrapper:
    """The same function in FINN's hardware layers, which can be executed in Python."""
    conversions = [_conversion(*names) for names in _CONVERSIONS]
    model = apply_passes(model, (*conversions, AbsorbConsecutiveTransposes(), NodeRewrite(absorb_flatten)))
    model = refresh_names_and_types(model.transform(InferDataLayouts(), make_deepcopy=False))
    for node in model.get_nodes_by_op_type("PWPolyF"):
        getCustomOp(node).set_nodeattr("degree", _GELU_DEGREE)
    shuffles = _conversion("shuffle", "InferShuffle", lambda *_: True)  # by default it skips the first node
    model = apply_passes(model, (shuffles, _conversion("reshape", "InferReshape")))
    return minimized(refresh_names_and_types(model))


def minimized(model: ModelWrapper) -> ModelWrapper:
    """The graph with weights, accumulators and thresholds as narrow as their values allow."""
    passes = (
        MinimizeWeightBitWidth(), MinimizeAccumulatorWidth(), RoundAndClipThresholds(),
        MinimizeWeightBitWidth(),
    )  # fmt: skip
    return refresh_names_and_types(apply_passes(model, passes))


def _conversion(module: str, name: str, *arguments: Any) -> Transformation:
    path = f"finn.transformation.fpgadataflow.convert_to_hw.{module}"
    return getattr(import_module(path), name)(*arguments)
