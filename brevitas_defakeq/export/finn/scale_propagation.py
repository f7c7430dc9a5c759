"""Scales pushed down: what only moves, picks or adds values of one scale does so with their integers.

``integers * scale`` then stands where something else reads them, so that sums and concatenations are whole
numbers from the quantizers on, and no scale has to be brought past a fork or a join later.
"""

import numpy as np
from onnx import NodeProto

from brevitas_defakeq.export.finn.activation_functions import thresholds_of
from brevitas_defakeq.export.finn.activation_quantizers import threshold_node
from brevitas_defakeq.export.finn.graph_editor import MOVES, Graph, node
from brevitas_defakeq.export.finn.quant_node import Quantizer, is_activation
from brevitas_defakeq.export.finn.zero_padding import spatial_padding

#: What gives integers of integers, whatever their scale.
_INDIFFERENT = MOVES | {"Gather", "Slice", "MaxPool"}
_JOINS = frozenset({"Add", "Sub", "Concat"})


def integers_of(graph: Graph, name: str) -> tuple[str, np.float32] | None:
    """The value that holds the integers of a quantized value, and their scale; None where it has none.

    What lies between the value and its quantizers is rewritten to work on integers.
    """
    maker = graph.maker(name)
    if maker is None:
        return None
    if is_activation(graph, maker):
        return _opened(graph, maker)
    if maker.op_type == "Mul" and _holds_integers(graph, maker.input[0]):
        return maker.input[0], graph.constants[maker.input[1]].reshape(())[()]
    if maker.op_type in _INDIFFERENT or spatial_padding(graph, maker) is not None:
        source = integers_of(graph, maker.input[0])
        return None if source is None else _pushed(graph, maker, {0: source[0]}, source[1])
    return _joined(graph, maker) if maker.op_type in _JOINS else None


def _holds_integers(graph: Graph, name: str) -> bool:
    """Whether a value is made of thresholds' results or the graph's input: a factor behind is a scale."""
    maker = graph.maker(name)
    if maker is None or maker.op_type == "MultiThreshold":
        return maker is not None or name == graph.input
    if maker.op_type not in _INDIFFERENT | _JOINS | {"Pad"}:
        return False
    return all(_holds_integers(graph, source) for source in graph.dynamic_inputs(maker))


def _opened(graph: Graph, quant: NodeProto) -> tuple[str, np.float32]:
    """A ``Quant`` taken apart into thresholds and a multiplication, so that its integers can be read."""
    grid = Quantizer.of(graph, quant)
    steps = threshold_node(graph, quant, quant.input[0], *thresholds_of(grid.integers))
    scale = graph.constant(grid.scale.reshape(()), f"{quant.name}.scale")
    scaled = node("Mul", [steps.output[0], scale], quant.output[0], f"{quant.name}.scaled")
    graph.put(quant, steps, scaled)
    graph.drop(quant)
    return steps.output[0], grid.scale.reshape(())[()]


def _joined(graph: Graph, join: NodeProto) -> tuple[str, np.float32] | None:
    """The integers of a sum or a concatenation, where all parts have one scale."""
    if any(graph.is_fixed(name) for name in join.input):  # a class token, positions: they go into thresholds
        return None
    found = {place: integers_of(graph, name) for place, name in enumerate(join.input)}
    scales = {None if part is None else part[1] for part in found.values()}
    if len(scales) != 1 or None in scales:
        return None
    return _pushed(graph, join, {place: part[0] for place, part in found.items()}, *scales)


def _pushed(graph: Graph, item: NodeProto, integers: dict[int, str], scale) -> tuple[str, np.float32]:
    """Let a node work on integers, and multiply its result by the scale."""
    result = item.output[0]
    whole = graph.fresh(f"{result}.integers", graph.shapes[result])
    factor = graph.constant(np.asarray(scale, np.float32), f"{item.name}.scale")
    for place, name in integers.items():
        item.input[place] = name
    item.output[0] = whole
    graph.put_behind(item, node("Mul", [whole, factor], result, f"{item.name}.scaled"))
    return whole, scale


def push_scales_(graph: Graph) -> None:
    """Let every sum and concatenation of values with one scale work on their integers."""
    for item in graph.nodes:
        if item.op_type in _JOINS and not graph.is_fixed(item.output[0]):
            integers_of(graph, item.output[0])
