"""The nodes of a graph that have no FINN hardware layer, and why."""

from onnx import NodeProto
from qonnx.core.modelwrapper import ModelWrapper

from hw.finn_quirks import FINN_DOMAIN

#: Operators that FINN has layers for if their inputs are integers.
_INTEGER_LAYERS = {"MatMul", "Im2Col", "MaxPool", "MaxPoolNHWC", "GlobalAveragePool", "Concat", "Conv"}
_REASONS = {
    "Gelu": "its input is integers, but FINN needs floating point",
    "Quant": "it has more bits than thresholds support, or scales that are not constant",
    "LayerNormalization": "it does not normalize the last axis",
    "Gather": "it does not select a single token",
    "Resize": "it is not a nearest-neighbor upsampling by an integer factor",
}


def is_mapped(node: NodeProto) -> bool:
    """Whether a node is a FINN hardware layer."""
    return node.domain.startswith(FINN_DOMAIN)


def unmapped_reasons(model: ModelWrapper) -> list[str]:
    """One phrase per node without a hardware layer: "NAME: reason"."""
    return [f"{node.name}: {_reason(model, node)}" for node in model.graph.node if not is_mapped(node)]


def _reason(model: ModelWrapper, node: NodeProto) -> str:
    if node.op_type in _INTEGER_LAYERS:
        for name in node.input:
            kind = model.get_tensor_datatype(name)
            if not kind.is_integer():
                return (
                    f"its input {name} is {kind.name}, not quantized, or its scale could not be moved past it"
                )
    if node.op_type == "MultiThreshold":
        return "its channels are not on the last axis"
    return _REASONS.get(node.op_type, f"FINN has no layer for {node.op_type} here")
