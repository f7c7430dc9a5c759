"""Scales pushed down: what only moves, picks or adds values of one scale does so with their integers.

``integers * scale`` then stands where something else reads them, so that sums and concatenations are whole
numbers from the quantizers on, and no scale has to be brought past a fork or a join later.
"""

import numpy as np
from onnx import NodeProto

from brevitas_defakeq.export.finn.activation_functions import find_thresholds
from brevitas_defakeq.export.finn.activation_quantizers import threshold_node
from brevitas_defakeq.export.finn.graph_editor import DATA_MOVEMENT_OPS, GraphEditor, make_node
from brevitas_defakeq.export.finn.quant_node import QuantGrid, is_activation
from brevitas_defakeq.export.finn.zero_padding import spatial_padding

#: What gives integers of integers, whatever their scale.
_INDIFFERENT = DATA_MOVEMENT_OPS | {"Gather", "Slice", "MaxPool"}
_JOINS = frozenset({"Add", "Sub", "Concat"})


def integers_and_scale(graph: GraphEditor, name: str) -> tuple[str, np.float32] | None:
    """The value that holds the integers of a quantized value, and their scale; None where it has none.

    What lies between the value and its quantizers is rewritten to work on integers.
    """
    producer = graph.producer(name)
    if producer is None:
        return None
    if is_activation(graph, producer):
        return _split_quantizer(graph, producer)
    if producer.op_type == "Mul" and _holds_integers(graph, producer.input[0]):
        return producer.input[0], graph.constants[producer.input[1]].reshape(())[()]
    if producer.op_type in _INDIFFERENT or spatial_padding(graph, producer) is not None:
        source = integers_and_scale(graph, producer.input[0])
        return None if source is None else _push_node(graph, producer, {0: source[0]}, source[1])
    return _push_join(graph, producer) if producer.op_type in _JOINS else None


def _holds_integers(graph: GraphEditor, name: str) -> bool:
    """Whether a value is made of thresholds' results or the graph's input: a factor behind is a scale."""
    producer = graph.producer(name)
    if producer is None or producer.op_type == "MultiThreshold":
        return producer is not None or name == graph.input
    if producer.op_type not in _INDIFFERENT | _JOINS | {"Pad"}:
        return False
    return all(_holds_integers(graph, source) for source in graph.dynamic_inputs(producer))


def _split_quantizer(graph: GraphEditor, quant: NodeProto) -> tuple[str, np.float32]:
    """A ``Quant`` taken apart into thresholds and a multiplication, so that its integers can be read."""
    grid = QuantGrid.from_node(graph, quant)
    steps = threshold_node(graph, quant, quant.input[0], *find_thresholds(grid.integers))
    scale = graph.add_constant(grid.scale.reshape(()), f"{quant.name}.scale")
    scaled = make_node("Mul", [steps.output[0], scale], quant.output[0], f"{quant.name}.scaled")
    graph.insert_before(quant, steps, scaled)
    graph.remove(quant)
    return steps.output[0], grid.scale.reshape(())[()]


def _push_join(graph: GraphEditor, join: NodeProto) -> tuple[str, np.float32] | None:
    """The integers of a sum or a concatenation, where all parts have one scale."""
    if any(graph.is_static(name) for name in join.input):  # a class token, positions: they go into thresholds
        return None
    found = {place: integers_and_scale(graph, name) for place, name in enumerate(join.input)}
    scales = {None if part is None else part[1] for part in found.values()}
    if len(scales) != 1 or None in scales:
        return None
    return _push_node(graph, join, {place: part[0] for place, part in found.items()}, *scales)


def _push_node(
    graph: GraphEditor, item: NodeProto, integers: dict[int, str], scale
) -> tuple[str, np.float32]:
    """Let a node work on integers, and multiply its result by the scale."""
    result = item.output[0]
    whole = graph.new_name(f"{result}.integers", graph.shapes[result])
    factor = graph.add_constant(np.asarray(scale, np.float32), f"{item.name}.scale")
    for place, name in integers.items():
        item.input[place] = name
    item.output[0] = whole
    graph.insert_after(item, make_node("Mul", [whole, factor], result, f"{item.name}.scaled"))
    return whole, scale


def push_scales_(graph: GraphEditor) -> None:
    """Let every sum and concatenation of values with one scale work on their integers."""
    for item in graph.nodes:
        if item.op_type in _JOINS and not graph.is_static(item.output[0]):
            integers_and_scale(graph, item.output[0])
