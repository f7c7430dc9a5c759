"""What FINN maps, operator by operator, and what to do where it does not."""

from onnx import NodeProto

from brevitas_defakeq.export.finn.activation_functions import is_rising_function
from brevitas_defakeq.export.finn.arithmetic_rules import affine, arithmetic, concatenation, padding, pooling
from brevitas_defakeq.export.finn.graph_editor import DATA_MOVEMENT_OPS, get_attribute
from brevitas_defakeq.export.finn.mapping_check import MappingRule, MappingState, ValueState
from brevitas_defakeq.export.finn.product_rules import product, quantizer

_VERSAL = "build for a Versal board, or use a network with ReLU"
#: Operators without a counterpart -> what to do.
_HINTS = {
    "HardSwish": "use a network with ReLU: MobileNetV2 in place of V3",
    "Erf": "export GELU as one node (operator set 20)",
    "Resize": "resize the image before the detector; layers that enlarge maps have no form here",
    "Upsample": "resize the image before the detector",
    "Slice": "use a plain ViT with its class token, or a CNN: shifted windows have no form",
    "Einsum": "write it as MatMul",
    "ConvTranspose": "detectors have no need of it; leave that part out",
    "PRelu": "use ReLU or LeakyReLU",
    "InstanceNormalization": "use a network with BatchNorm",
    "GroupNormalization": "use a network with BatchNorm",
}  # fmt: skip


def function(state: MappingState, node: NodeProto) -> ValueState:
    """An activation function that rises: part of its quantizer."""
    if not is_rising_function(state.graph, node):
        return unmapped_operator(state, node)
    return ValueState("function")


def versal(state: MappingState, node: NodeProto) -> ValueState:
    """GELU, softmax, LayerNorm: floating-point layers that FINN has for Versal devices."""
    rank = len(state.graph.shapes.get(node.input[0], []))
    usual = {"Gelu": None, "Softmax": -1, "LayerNormalization": -1}[node.op_type]
    axis = get_attribute(node, "axis", usual)
    if usual is not None and axis % max(rank, 1) != rank - 1:
        state.reject(node, f"it works along axis {axis}", "work along the last axis")
    state.report(node, "needs", "a floating-point layer: FINN has it for Versal devices", _VERSAL)
    return ValueState("numbers")


def moving(state: MappingState, node: NodeProto) -> ValueState:
    """What only moves or picks values."""
    if len(state.graph.dynamic_inputs(node)) != 1:
        state.reject(node, "it picks places that depend on the image", "pick fixed places")
    return state.inputs(node)[0]


def unmapped_operator(state: MappingState, node: NodeProto) -> ValueState:
    """Everything else."""
    change = _HINTS.get(node.op_type, "use a network without it, or keep that part off the device")
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
