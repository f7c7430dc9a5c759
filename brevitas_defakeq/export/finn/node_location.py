"""Where a node stands, in the words of the detector: its layer's name, or the layer before it."""

from onnx import NodeProto

from brevitas_defakeq.export.finn.graph_editor import Graph
from brevitas_defakeq.export.finn.quant_node import is_activation
from brevitas_defakeq.export.finn.weight_quantizers import weight_input


def place_of(graph: Graph, node: NodeProto) -> str:
    """A layer's own name, that of the layer whose input a quantizer makes, or "after" the layers above."""
    if weight_input(graph, node) is not None:
        return node.name
    if is_activation(graph, node):
        readers = _layers_below(graph, node.output[0])
        if len(readers) == 1:
            return f"{readers[0]}, input"
    return above(graph, node)


def above(graph: Graph, node: NodeProto) -> str:
    """The nearest layers above a node, at most two by name."""
    found: list[str] = []
    waiting, seen = list(graph.dynamic_inputs(node)), set()
    while waiting:
        maker = graph.maker(waiting.pop(0))
        if maker is None or maker.name in seen:
            continue
        seen.add(maker.name)
        if weight_input(graph, maker) is not None:
            found.append(maker.name)
        else:
            waiting += graph.dynamic_inputs(maker)
    if not found:
        return "the image"
    return f"after {' and '.join(sorted(found)[:2])}" + (" and others" if len(found) > 2 else "")


def _layers_below(graph: Graph, name: str) -> list[str]:
    """Names of the layers that read a value, through what only moves values."""
    found = []
    for reader in graph.readers(name):
        if weight_input(graph, reader) is not None:
            found.append(reader.name)
        elif len(graph.dynamic_inputs(reader)) == 1 and not is_activation(graph, reader):
            found += _layers_below(graph, reader.output[0])
    return found
