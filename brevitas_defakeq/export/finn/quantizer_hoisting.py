"""Quantizers hoisted to the layer whose result they quantize.

A per-tensor quantizer commutes with every operator that only selects or moves values: max pooling,
concatenation, zero padding (0 is on every grid), reshapes. After hoisting, these operators run on integers,
as FINN requires, and the quantizer directly follows its activation function.
"""

import numpy as np
from onnx import NodeProto

from brevitas_defakeq.export.finn.activation_functions import is_rising_function
from brevitas_defakeq.export.finn.graph_editor import DATA_MOVEMENT_OPS, GraphEditor, remove_unused_nodes_
from brevitas_defakeq.export.finn.quant_node import QuantGrid, is_activation
from brevitas_defakeq.export.finn.zero_padding import is_zero_padding

_INTEGERS_ONLY = frozenset({"MaxPool", "Concat", "Pad"})


def hoist_quantizers_(graph: GraphEditor) -> None:
    """Hoist each quantizer as far as useful; several quantizers of one value each get a copy of the path."""
    waiting = [quant for quant in graph.nodes if is_activation(graph, quant)]
    while waiting:
        quant = waiting.pop()
        path = graph.producer(quant.input[0])
        if path is None or not _is_useful(graph, path) or not _only_quantizers_read(graph, path.output[0]):
            continue
        if not QuantGrid.from_node(graph, quant).is_per_tensor:
            continue
        waiting.extend(_hoist_(graph, quant, path))
    remove_unused_nodes_(graph)


def commutes(graph: GraphEditor, item: NodeProto) -> bool:
    """Whether a per-tensor quantizer may be moved from after a node to before it."""
    if item.op_type == "Pad":
        return is_zero_padding(graph, item)
    return item.op_type in DATA_MOVEMENT_OPS or item.op_type in ("MaxPool", "Concat")


def _is_useful(graph: GraphEditor, path: NodeProto) -> bool:
    """Whether the node needs integers, or hoisting reaches an activation function."""
    if not commutes(graph, path):
        return False
    if path.op_type in _INTEGERS_ONLY:
        return True
    above = graph.producer(path.input[0])
    return above is not None and (is_rising_function(graph, above) or _is_useful(graph, above))


def _only_quantizers_read(graph: GraphEditor, name: str) -> bool:
    outputs = {value.name for value in graph.model.graph.output}
    return name not in outputs and all(is_activation(graph, consumer) for consumer in graph.consumers(name))


def _hoist_(graph: GraphEditor, quant: NodeProto, path: NodeProto) -> list[NodeProto]:
    """Swap ``path`` and the ``quant`` that follows it; returns the new quantizers, one per input."""
    sources = [name for name in path.input if name] if path.op_type == "Concat" else [path.input[0]]
    copy, quantizers = NodeProto(), []
    copy.CopyFrom(path)
    copy.name, copy.output[0] = f"{path.name}.{quant.name}", quant.output[0]
    grid = QuantGrid.from_node(graph, quant)
    for index, source in enumerate(sources):
        if graph.is_constant(source):
            values = grid.integers(graph.constants[source]) * grid.scale
            copy.input[index] = graph.add_constant(values.astype(np.float32), f"{source}.quantized")
            continue
        new = NodeProto()
        new.CopyFrom(quant)
        new.name = quant.name if len(sources) == 1 else f"{quant.name}.{index}"
        new.input[0], new.output[0] = source, graph.new_name(f"{source}.quantized", graph.shapes[source])
        copy.input[index] = new.output[0]
        quantizers.append(new)
    graph.insert_before(quant, *quantizers, copy)
    graph.remove(quant)
    if not graph.consumers(path.output[0]):
        graph.remove(path)
    return quantizers
