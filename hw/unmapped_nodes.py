"""Which nodes of a hardware graph are none, and why."""

from onnx import NodeProto
from qonnx.core.modelwrapper import ModelWrapper

_DOMAIN = "finn.custom_op.fpgadataflow"
#: Operators that FINN has layers for, if what they read is of whole numbers.
_INTEGER_LAYERS = {"MatMul", "Im2Col", "MaxPool", "MaxPoolNHWC", "GlobalAveragePool", "Concat", "Conv"}
_REASONS = {
    "Gelu": "it stands on integers, where FINN wants floating point",
    "Quant": "it has more bits than thresholds can have, or scales that are no constants",
    "LayerNormalization": "it does not normalise the last axis",
    "Gather": "it picks no single token",
    "Resize": "it is no nearest-neighbour upsampling by a whole factor",
}


def is_mapped(node: NodeProto) -> bool:
    return node.domain.startswith(_DOMAIN)


def unmapped_reasons(model: ModelWrapper) -> list[str]:
    """One phrase for each node without a hardware layer: which it is, and why."""
    return [f"{node.name}: {_reason(model, node)}" for node in model.graph.node if not is_mapped(node)]


def _reason(model: ModelWrapper, node: NodeProto) -> str:
    if node.op_type in _INTEGER_LAYERS:
        for name in node.input:
            kind = model.get_tensor_datatype(name)
            if not kind.is_integer():
                return f"its input {name} is {kind.name}, not quantized, or its scale could not be moved past"
    if node.op_type == "MultiThreshold":
        return "its thresholds belong to channels that are not on the last axis"
    return _REASONS.get(node.op_type, f"FINN has no layer for {node.op_type} here")
