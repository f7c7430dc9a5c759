"""What FINN maps, operator by operator, and what to do where it does not."""

from onnx import NodeProto

from brevitas_defakeq.export.finn.activation_functions import is_function
from brevitas_defakeq.export.finn.arithmetic_rules import affine, arithmetic, concatenation, padding, pooling
from brevitas_defakeq.export.finn.graph_editor import MOVES, attribute
from brevitas_defakeq.export.finn.mapping_check import Rule, Value, Walk
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


def function(state: Walk, node: NodeProto) -> Value:
    """An activation function that rises: part of its quantizer."""
    if not is_function(state.graph, node):
        return unknown(state, node)
    return Value("function")


def versal(state: Walk, node: NodeProto) -> Value:
    """GELU, softmax, LayerNorm: floating-point layers that FINN has for Versal devices."""
    rank = len(state.graph.shapes.get(node.input[0], []))
    usual = {"Gelu": None, "Softmax": -1, "LayerNormalization": -1}[node.op_type]
    axis = attribute(node, "axis", usual)
    if usual is not None and axis % max(rank, 1) != rank - 1:
        state.cannot(node, f"it works along axis {axis}", "work along the last axis")
    state.says(node, "needs", "a floating-point layer: FINN has it for Versal devices", _VERSAL)
    return Value("numbers")


def moving(state: Walk, node: NodeProto) -> Value:
    """What only moves or picks values."""
    if len(state.graph.dynamic_inputs(node)) != 1:
        state.cannot(node, "it picks places that depend on the image", "pick fixed places")
    return state.inputs(node)[0]


def unknown(state: Walk, node: NodeProto) -> Value:
    """Everything else."""
    change = _HINTS.get(node.op_type, "use a network without it, or keep that part off the device")
    state.cannot(node, f"FINN has no operator for {node.op_type}", change)
    return Value("numbers")


RULES: dict[str, Rule] = {
    "Quant": quantizer, "Conv": product, "MatMul": product, "Gemm": product,
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), arithmetic),
    **dict.fromkeys(("Relu", "Clip", "Sigmoid", "Tanh", "HardSigmoid", "Selu", "Softplus", "Softsign",
                     "LeakyRelu", "Elu", "Celu"), function),
    **dict.fromkeys(("MaxPool", "AveragePool", "GlobalAveragePool", "ReduceMean"), pooling),
    **dict.fromkeys(("Gelu", "Softmax", "LayerNormalization"), versal),
    **dict.fromkeys((*MOVES, "Gather", "Split"), moving),
    "Concat": concatenation, "Pad": padding, "BatchNormalization": affine,
}  # fmt: skip
