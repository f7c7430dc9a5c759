"""Step 5: every node becomes a layer that FINN has hardware for; widths shrink to what values need."""

from importlib import import_module

from finn.transformation.fpgadataflow.minimize_accumulator_width import MinimizeAccumulatorWidth
from finn.transformation.fpgadataflow.minimize_weight_bit_width import MinimizeWeightBitWidth
from finn.transformation.move_reshape import RemoveCNVtoFCFlatten
from finn.transformation.streamline.absorb import AbsorbConsecutiveTransposes
from finn.transformation.streamline.round_thresholds import RoundAndClipThresholds
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.infer_data_layouts import InferDataLayouts

from hw.steps.fixpoint import apply_passes, refresh_names_and_types

#: FINN's conversions, in the order that they need. Thresholds stand alone (the RTL products hold none), and
#: no quantizer becomes a Requant. Forks are duplicated last, when nothing else changes who reads what.
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

#: Of the polynomials that GELU becomes. FINN's 2 errs by 6e-5, which moves values over thresholds; 4 errs by
#: 1e-6 and takes two more DSPs a processing element.
_DEGREE = 4


def map_to_hardware(model: ModelWrapper) -> ModelWrapper:
    """The same function in FINN's layers, which run in Python too."""
    conversions = [_conversion(*names) for names in _CONVERSIONS]
    model = apply_passes(model, (*conversions, AbsorbConsecutiveTransposes(), RemoveCNVtoFCFlatten()))
    model = refresh_names_and_types(model.transform(InferDataLayouts(), make_deepcopy=False))
    for node in model.get_nodes_by_op_type("PWPolyF"):
        getCustomOp(node).set_nodeattr("degree", _DEGREE)
    shuffles = _conversion("shuffle", "InferShuffle", lambda *_: True)  # else it leaves out the first node
    model = refresh_names_and_types(apply_passes(model, (shuffles, _conversion("reshape", "InferReshape"))))
    return minimized(model)


def minimized(model: ModelWrapper) -> ModelWrapper:
    """Weights, accumulators and thresholds as narrow as their values allow."""
    passes = (
        MinimizeWeightBitWidth(), MinimizeAccumulatorWidth(), RoundAndClipThresholds(),
        MinimizeWeightBitWidth(),
    )  # fmt: skip
    return refresh_names_and_types(apply_passes(model, passes))


def _conversion(module: str, name: str, *arguments):
    path = f"finn.transformation.fpgadataflow.convert_to_hw.{module}"
    return getattr(import_module(path), name)(*arguments)
