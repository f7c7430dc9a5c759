"""Quantizers moved up to the layer whose result they read.

A quantizer with one scale commutes with everything that only picks or moves values: a maximum over a window,
a concatenation, a padding with zeros (0 is on every grid), a reshape. Behind it these run on integers, which
is how FINN has them, and the activation function before them meets its quantizer.
"""

import numpy as np
from onnx import NodeProto

from brevitas_defakeq.export.finn.activation_functions import is_rising_function
from brevitas_defakeq.export.finn.graph_editor import DATA_MOVEMENT_OPS, GraphEditor, remove_unused_nodes_
from brevitas_defakeq.export.finn.quant_node import QuantGrid, is_activation
from brevitas_defakeq.export.finn.zero_padding import is_zero_padding

_INTEGERS_ONLY = frozenset({"MaxPool", "Concat", "Pad"})


def hoist_quantizers_(graph: GraphEditor) -> None:
    """Move each quantizer up as far as that helps; of several behind one value each has its own path."""
    moving = [quant for quant in graph.nodes if is_activation(graph, quant)]
    while moving:
        quant = moving.pop()
        path = graph.producer(quant.input[0])
        if path is None or not _helps(graph, path) or not _only_quantizers_read(graph, path.output[0]):
            continue
        if not QuantGrid.from_node(graph, quant).is_per_tensor:
            continue
        moving.extend(_hoist_(graph, quant, path))
    remove_unused_nodes_(graph)


def commutes(graph: GraphEditor, item: NodeProto) -> bool:
    """Whether a quantizer with one scale may stand before a node instead of behind it."""
    if item.op_type == "Pad":
        return is_zero_padding(graph, item)
    return item.op_type in DATA_MOVEMENT_OPS or item.op_type in ("MaxPool", "Concat")


def _helps(graph: GraphEditor, path: NodeProto) -> bool:
    """Whether integers are needed here, or an activation function lies further up."""
    if not commutes(graph, path):
        return False
    if path.op_type in _INTEGERS_ONLY:
        return True
    above = graph.producer(path.input[0])
    return above is not None and (is_rising_function(graph, above) or _helps(graph, above))


def _only_quantizers_read(graph: GraphEditor, name: str) -> bool:
    handed_out = {value.name for value in graph.model.graph.output}
    return name not in handed_out and all(
        is_activation(graph, consumer) for consumer in graph.consumers(name)
    )


def _hoist_(graph: GraphEditor, quant: NodeProto, path: NodeProto) -> list[NodeProto]:
    """``path`` then ``quant`` become quantizers then ``path``; returns the new quantizers."""
    sources = [name for name in path.input if name] if path.op_type == "Concat" else [path.input[0]]
    copy, quantizers = NodeProto(), []
    copy.CopyFrom(path)
    copy.name, copy.output[0] = f"{path.name}.{quant.name}", quant.output[0]
    grid = QuantGrid.from_node(graph, quant)
    for place, source in enumerate(sources):
        if graph.is_constant(source):
            values = grid.integers(graph.constants[source]) * grid.scale
            copy.input[place] = graph.add_constant(values.astype(np.float32), f"{source}.quantized")
            continue
        new = NodeProto()
        new.CopyFrom(quant)
        new.name = quant.name if len(sources) == 1 else f"{quant.name}.{place}"
        new.input[0], new.output[0] = source, graph.new_name(f"{source}.quantized", graph.shapes[source])
        copy.input[place] = new.output[0]
        quantizers.append(new)
    graph.insert_before(quant, *quantizers, copy)
    graph.remove(quant)
    if not graph.consumers(path.output[0]):
        graph.remove(path)
    return quantizers
