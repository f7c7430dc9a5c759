"""The host's arithmetic: from the image to integers, and from the head's integers to the logit."""

from dataclasses import asdict, dataclass

import numpy as np
from onnx import NodeProto
from qonnx.core.onnx_exec import execute_node

from brevitas_defakeq.export.finn.graph_editor import (
    GraphEditor,
    float_value_info,
    make_node,
    remove_unused_nodes_,
)
from brevitas_defakeq.export.finn.quant_node import QuantGrid, is_activation, quant_node, type_name
from brevitas_defakeq.export.finn.scale_propagation import integers_and_scale
from brevitas_defakeq.export.finn.weight_quantizers import (
    LayerWeights,
    inputs_first,
    read_layer_weights,
    weight_input,
)
from brevitas_defakeq.utils.errors import UserError

#: Operators that may follow the head: linear ones, and ``ReduceLogSumExp``, which is linear over one class
#: (the logit of two classes is exported with it). ``_linear_logit`` verifies the result.
_LINEAR = frozenset({"Add", "Sub", "Mul", "Div", "Neg", "Gather", "Slice", "Split", "Concat", "Reshape",
                     "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity", "ReduceSum", "ReduceMean",
                     "ReduceLogSumExp"})  # fmt: skip


@dataclass(frozen=True)
class HostInput:
    """``integers = clip(round(image / scale + zero_point), low, high) - zero_point``; rounds half to even."""

    scale: float
    zero_point: int
    bits: int
    signed: bool
    low: int
    high: int

    def integers(self, images: np.ndarray) -> np.ndarray:
        """The graph's input, float32 [N, 3, H, W], of normalized images [N, 3, H, W]."""
        codes = images.astype(np.float32) / np.float32(self.scale) + np.float32(self.zero_point)
        return np.round(np.clip(codes, self.low, self.high)) - np.float32(self.zero_point)

    def to_dict(self) -> dict:
        return asdict(self)


@dataclass(frozen=True)
class HostOutput:
    """``logit = sum(output * scale) + bias``; ``scale`` has one number per element of the graph's output."""

    scale: list[float]
    bias: float

    def logit(self, integers: np.ndarray) -> float:
        """The logit of one image from the graph's output, of any shape."""
        return float(integers.reshape(-1).astype(np.float64) @ np.array(self.scale) + self.bias)

    def to_dict(self) -> dict:
        return asdict(self)


def move_input_quantizer_to_host_(graph: GraphEditor) -> HostInput:
    """Move the image's quantizer to the host: the graph's input becomes its integers ``code - zero_point``.

    Raises UserError where the image is not read by one per-tensor quantizer alone.
    """
    quant = image_quantizer(graph)
    if quant is None:
        raise UserError("the image is not read by one quantizer alone; --check says what to change")
    grid = QuantGrid.from_node(graph, quant)
    scale = graph.add_constant(grid.scale.reshape(()), f"{quant.name}.scale")
    graph.insert_before(
        quant, make_node("Mul", [graph.input, scale], quant.output[0], f"{quant.name}.scaled")
    )
    graph.remove(quant)
    graph.types[graph.input] = type_name(grid.min_integer, grid.max_integer)
    low, high = int(grid.min_code.item()), int(grid.max_code.item())
    return HostInput(
        float(grid.scale.item()), int(grid.zero_point.item()), int(grid.bits.item()), grid.signed, low, high
    )


def image_quantizer(graph: GraphEditor) -> NodeProto | None:
    """The per-tensor quantizer that alone reads the image, or None."""
    consumers = graph.consumers(graph.input)
    if len(consumers) != 1 or not is_activation(graph, consumers[0]):
        return None
    return consumers[0] if QuantGrid.from_node(graph, consumers[0]).is_per_tensor else None


def find_head(graph: GraphEditor) -> NodeProto | None:
    """The last layer, if only linear operators follow it; else None."""
    heads: dict[str, NodeProto] = {}
    waiting = [graph.output]
    while waiting:
        producer = graph.producer(waiting.pop())
        if producer is None:
            return None
        if weight_input(graph, producer) is not None:
            heads[producer.output[0]] = producer
        elif producer.op_type in _LINEAR:
            waiting += graph.dynamic_inputs(producer)
        else:
            return None
    return next(iter(heads.values())) if len(heads) == 1 else None


def move_logit_arithmetic_to_host_(graph: GraphEditor) -> HostOutput:
    """End the graph at the head's integers; what follows becomes a scale per integer and a bias.

    Raises UserError where the logit is not a linear function of one last layer.
    """
    head = find_head(graph)
    source = None if head is None else integers_and_scale(graph, head.input[0])
    weights = None if head is None else read_layer_weights(graph, head)
    if head is None or source is None or weights is None:
        raise UserError("the logit is not a linear function of one last layer; --check says what to change")
    shape = graph.shapes[head.output[0]]
    coefficients, bias = _linear_logit(graph, head, shape)
    channel_axis = 1 if head.op_type == "Conv" else len(shape) - 1
    scale = _channel_scales(head, weights) * float(source[1])
    along = [-1 if axis == channel_axis else 1 for axis in range(len(shape))]
    if len(head.input) > 2:
        constant = np.broadcast_to(graph.constants[head.input[2]].reshape(along), shape)
        bias += float(coefficients @ constant.reshape(-1))
    coefficients = coefficients * np.broadcast_to(scale.reshape(along), shape).reshape(-1)
    _end_at_integers_(graph, head, source[0], weights, shape)
    return HostOutput([float(value) for value in coefficients], bias)


def _channel_scales(head: NodeProto, weights: LayerWeights) -> np.ndarray:
    """Weight scale of each of the head's output channels, float64 [C_out]."""
    scales = np.broadcast_to(weights.scale, weights.integers.shape)
    rows = scales.T if inputs_first(head) else scales
    return rows.reshape(len(rows), -1)[:, 0].astype(np.float64)


def _linear_logit(graph: GraphEditor, head: NodeProto, shape: list[int]) -> tuple[np.ndarray, float]:
    """The logit as a linear function of the head's flattened output: coefficients float64 [n] and bias."""
    size = int(np.prod(shape))
    following: list[NodeProto] = []
    reached = {head.output[0]}
    for item in graph.nodes:
        if reached.intersection(item.input):
            following.append(item)
            reached.update(item.output)
    opset = next(entry.version for entry in graph.model.opset_import if entry.domain == "")

    def logit(values: np.ndarray) -> float:
        context = {**graph.constants, head.output[0]: values.reshape(shape).astype(np.float32)}
        context |= {
            name: np.zeros(graph.shapes[name], np.float32) for item in following for name in item.output
        }
        for item in following:
            execute_node(item, context, graph.model.graph, opset)
        return float(context[graph.output].reshape(()))

    bias = logit(np.zeros(size))
    coefficients = np.array([logit(row) - bias for row in np.eye(size)])
    probe = np.cos(np.arange(size))
    if abs(logit(probe) - (coefficients @ probe + bias)) > 1e-5 * (1 + np.abs(coefficients).sum()):
        raise UserError("the logit is not a linear function of the last layer; --check says what to change")
    return coefficients, bias


def _end_at_integers_(
    graph: GraphEditor, head: NodeProto, source: str, weights: LayerWeights, shape: list[int]
) -> None:
    """Replace the head by one on integers with weights of scale 1, whose result is the graph's output."""
    name = graph.new_name(f"{head.output[0]}.integers", shape)
    transposed = head.op_type == "Gemm" and not inputs_first(head)  # becomes a MatMul
    stored = graph.add_constant(weights.integers.T if transposed else weights.integers, f"{head.name}.values")
    weight = graph.new_name(f"{head.name}.weight", graph.shapes[stored])
    quant = quant_node(
        graph, stored, weight, f"{head.name}.quantizer", scale=np.float32(1),
        bits=weights.bits, signed=weights.signed, narrow=weights.narrow,
    )  # fmt: skip
    last = NodeProto()
    last.CopyFrom(head)
    if head.op_type == "Gemm":
        last = make_node("MatMul", [], name, head.name)
    last.input[:], last.output[0] = [source, quant.output[0]], name
    graph.insert_before(head, quant, last)
    del graph.model.graph.output[:]
    graph.model.graph.output.append(float_value_info(name, shape))
    remove_unused_nodes_(graph)
    graph.types[name] = "INT32"
