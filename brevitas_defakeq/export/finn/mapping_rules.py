"""The mapping rule of every operator that FINN maps, and what to do about the others."""

from onnx import NodeProto

from brevitas_defakeq.export.finn.activation_functions import is_rising_function
from brevitas_defakeq.export.finn.arithmetic_rules import (
    affine,
    arithmetic,
    concatenation,
    is_along_channels,
    padding,
    pooling,
)
from brevitas_defakeq.export.finn.graph_editor import DATA_MOVEMENT_OPS, get_attribute
from brevitas_defakeq.export.finn.mapping_check import MappingRule, MappingState, ValueState
from brevitas_defakeq.export.finn.ones_convolution import shuffled_channels
from brevitas_defakeq.export.finn.product_rules import product, quantizer

_VERSAL_CHANGE = "build for a Versal board, or use a network with ReLU"
#: Floating-point layers that FINN has in HLS for every device, besides RTL for Versal.
_NORMS_CHANGE = (
    "use a network with BatchNorm, or expect no rate from an estimate for other than Versal boards"
)
#: Operator without FINN hardware -> what to change.
_HINTS = {
    "HardSwish": "use a network with ReLU: MobileNetV2 instead of V3",
    "Erf": "export GELU as one node (opset 20)",
    "Resize": "resize the image before the detector; upsampling layers are not supported",
    "Upsample": "resize the image before the detector",
    "Slice": "select channels by torch.chunk or split, tokens by an index; windows are not supported",
    "Einsum": "write it as MatMul",
    "ConvTranspose": "leave out the decoder; detection does not need it",
    "PRelu": "use ReLU or LeakyReLU",
    "InstanceNormalization": "use a network with BatchNorm",
    "GroupNormalization": "use a network with BatchNorm",
}  # fmt: skip


def function(state: MappingState, node: NodeProto) -> ValueState:
    """A monotonically rising activation function, which becomes part of its quantizer's thresholds."""
    if not is_rising_function(state.graph, node):
        return unmapped_operator(state, node)
    return ValueState("function")


def versal(state: MappingState, node: NodeProto) -> ValueState:
    """Gelu, Softmax, LayerNormalization: floating-point layers.

    FINN has Gelu for Versal devices only. The others exist elsewhere in HLS, where it does not estimate the
    cycles of LayerNormalization.
    """
    rank = len(state.graph.shapes.get(node.input[0], []))
    usual = {"Gelu": None, "Softmax": -1, "LayerNormalization": -1}[node.op_type]
    axis = get_attribute(node, "axis", usual)
    if usual is not None and axis % max(rank, 1) != rank - 1:
        state.reject(node, f"it works along axis {axis}", "work along the last axis")
    if node.op_type == "Gelu":
        state.report(
            node, "needs", "a floating-point layer: FINN has it for Versal devices only", _VERSAL_CHANGE
        )
    elif node.op_type == "LayerNormalization":
        problem = (
            "a floating-point layer: RTL on Versal devices, HLS on others, without an estimate of cycles"
        )
        state.report(node, "costs", problem, _NORMS_CHANGE)
    else:
        problem = "a floating-point layer: RTL on Versal devices, HLS on others"
        state.report(node, "costs", problem, "no change needed if the device holds it")
    return ValueState("numbers")


def moving(state: MappingState, node: NodeProto) -> ValueState:
    """Operators that only move or select values."""
    if len(state.graph.dynamic_inputs(node)) != 1:
        state.reject(node, "it selects positions that depend on the image", "select fixed positions")
    if node.op_type == "Split" and not is_along_channels(state, node):
        state.reject(node, "it splits along another axis than the channels", "split channels")
    if node.op_type == "Transpose" and _is_deep(state, node):
        state.reject(
            node, "it rearranges values in more than four dimensions, and not whole channels",
            "use a plain ViT or a CNN; windows and patch merging are not supported",
        )  # fmt: skip
    return state.inputs(node)[0]


def _is_deep(state: MappingState, node: NodeProto) -> bool:
    return len(state.graph.shapes[node.input[0]]) > 4 and shuffled_channels(state.graph, node) is None


def unmapped_operator(state: MappingState, node: NodeProto) -> ValueState:
    """Every operator without a rule."""
    change = _HINTS.get(node.op_type, "use a network without it, or compute it on the host")
    state.reject(node, f"FINN has no operator for {node.op_type}", change)
    return ValueState("numbers")


MAPPING_RULES: dict[str, MappingRule] = {
    "Quant": quantizer, "Conv": product, "MatMul": product, "Gemm": product,
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), arithmetic),
    **dict.fromkeys(("Relu", "Clip", "Sigmoid", "Tanh", "HardSigmoid", "Selu", "Softplus", "Softsign",
                     "LeakyRelu", "Elu", "Celu"), function),
    **dict.fromkeys(("MaxPool", "AveragePool", "GlobalAveragePool", "ReduceMean"), pooling),
    **dict.fromkeys(("Gelu", "Softmax", "LayerNormalization"), versal),
    **dict.fromkeys((*DATA_MOVEMENT_OPS, "Gather", "Split"), moving),
    "Concat": concatenation, "Pad": padding, "BatchNormalization": affine,
}  # fmt: skip
