"""The location of a node in terms of the detector: the name of its layer, or of the layers before it."""

from onnx import NodeProto

from brevitas_defakeq.export.finn.graph_editor import GraphEditor
from brevitas_defakeq.export.finn.quant_node import is_activation
from brevitas_defakeq.export.finn.weight_quantizers import weight_input


def location_of(graph: GraphEditor, node: NodeProto) -> str:
    """A layer's own name; "NAME, input" for a quantizer of one layer's input; else "after NAME"."""
    if weight_input(graph, node) is not None:
        return node.name
    if is_activation(graph, node):
        layers = _layers_below(graph, node.output[0])
        if len(layers) == 1:
            return f"{layers[0]}, input"
    return layers_above(graph, node)


def layers_above(graph: GraphEditor, node: NodeProto) -> str:
    """The nearest layers before a node, at most two, as "after A and B"; "the image" if there are none."""
    found: list[str] = []
    waiting, visited = list(graph.dynamic_inputs(node)), set()
    while waiting:
        producer = graph.producer(waiting.pop(0))
        if producer is None or producer.name in visited:
            continue
        visited.add(producer.name)
        if weight_input(graph, producer) is not None:
            found.append(producer.name)
        else:
            waiting += graph.dynamic_inputs(producer)
    if not found:
        return "the image"
    return f"after {' and '.join(sorted(found)[:2])}" + (" and others" if len(found) > 2 else "")


def _layers_below(graph: GraphEditor, name: str) -> list[str]:
    """Names of the layers that read a value, directly or through nodes that only move values."""
    found = []
    for consumer in graph.consumers(name):
        if weight_input(graph, consumer) is not None:
            found.append(consumer.name)
        elif len(graph.dynamic_inputs(consumer)) == 1 and not is_activation(graph, consumer):
            found += _layers_below(graph, consumer.output[0])
    return found
