"""Scales pushed past the operators that move, select or add values of one scale, which then work on integers.

``integers * scale`` is computed only for other consumers. Sums and concatenations are integers from the
quantizers on, and no scale has to be moved past a fork or join later.
"""

import numpy as np
from onnx import NodeProto

from brevitas_defakeq.export.finn.activation_functions import find_thresholds
from brevitas_defakeq.export.finn.activation_quantizers import threshold_node
from brevitas_defakeq.export.finn.graph_editor import DATA_MOVEMENT_OPS, GraphEditor, make_node
from brevitas_defakeq.export.finn.quant_node import QuantGrid, is_activation
from brevitas_defakeq.export.finn.zero_padding import spatial_padding

#: Operators that map integers to integers, whatever the scale.
_INDIFFERENT = DATA_MOVEMENT_OPS | {"Gather", "Slice", "MaxPool"}
_JOINS = frozenset({"Add", "Sub", "Concat"})


def integers_and_scale(graph: GraphEditor, name: str) -> tuple[str, np.float32] | None:
    """The value that holds a quantized value's integers, and their scale; None without a single scale.

    Nodes between the value and its quantizers are rewritten to work on integers.
    """
    producer = graph.producer(name)
    if producer is None:
        return None
    if is_activation(graph, producer):
        return _split_quantizer(graph, producer)
    if producer.op_type == "Mul" and _holds_integers(graph, producer.input[0]):
        return producer.input[0], _scalar(graph.constants[producer.input[1]])
    if producer.op_type in _INDIFFERENT or spatial_padding(graph, producer) is not None:
        source = integers_and_scale(graph, producer.input[0])
        return None if source is None else _push_node(graph, producer, {0: source[0]}, source[1])
    return _push_join(graph, producer) if producer.op_type in _JOINS else None


def _holds_integers(graph: GraphEditor, name: str) -> bool:
    """Whether a value is computed from thresholds' outputs or the graph's input alone."""
    producer = graph.producer(name)
    if producer is None or producer.op_type == "MultiThreshold":
        return producer is not None or name == graph.input
    if producer.op_type not in _INDIFFERENT | _JOINS | {"Pad"}:
        return False
    return all(_holds_integers(graph, source) for source in graph.dynamic_inputs(producer))


def _scalar(values: np.ndarray) -> np.float32:
    return np.float32(values.item())


def _split_quantizer(graph: GraphEditor, quant: NodeProto) -> tuple[str, np.float32]:
    """Split a ``Quant`` into thresholds and a multiplication, so that its integers can be read."""
    grid = QuantGrid.from_node(graph, quant)
    steps = threshold_node(graph, quant, quant.input[0], *find_thresholds(grid.integers))
    scale = graph.add_constant(grid.scale.reshape(()), f"{quant.name}.scale")
    scaled = make_node("Mul", [steps.output[0], scale], quant.output[0], f"{quant.name}.scaled")
    graph.insert_before(quant, steps, scaled)
    graph.remove(quant)
    return steps.output[0], _scalar(grid.scale)


def _push_join(graph: GraphEditor, join: NodeProto) -> tuple[str, np.float32] | None:
    """The integers of a sum or concatenation whose operands share one scale."""
    if any(graph.is_static(name) for name in join.input):  # class token, positions: absorbed by thresholds
        return None
    operands = [integers_and_scale(graph, name) for name in join.input]
    known = [operand for operand in operands if operand is not None]
    if len(known) < len(operands) or len({scale for _, scale in known}) != 1:
        return None
    return _push_node(graph, join, {index: name for index, (name, _) in enumerate(known)}, known[0][1])


def _push_node(
    graph: GraphEditor, item: NodeProto, integers: dict[int, str], scale: np.float32
) -> tuple[str, np.float32]:
    """Let a node work on integers (input index -> value) and multiply its result by the scale."""
    result = item.output[0]
    integer_result = graph.new_name(f"{result}.integers", graph.shapes[result])
    factor = graph.add_constant(np.asarray(scale, np.float32), f"{item.name}.scale")
    for index, name in integers.items():
        item.input[index] = name
    item.output[0] = integer_result
    graph.insert_after(item, make_node("Mul", [integer_result, factor], result, f"{item.name}.scaled"))
    return integer_result, scale


def push_scales_(graph: GraphEditor) -> None:
    """Let every sum and concatenation of values with one scale work on integers."""
    for item in graph.nodes:
        if item.op_type in _JOINS and not graph.is_static(item.output[0]):
            integers_and_scale(graph, item.output[0])
