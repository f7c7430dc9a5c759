"""Where a node stands, in the words of the detector: its layer's name, or the layer before it."""

from onnx import NodeProto

from brevitas_defakeq.export.finn.graph_editor import GraphEditor
from brevitas_defakeq.export.finn.quant_node import is_activation
from brevitas_defakeq.export.finn.weight_quantizers import weight_input


def location_of(graph: GraphEditor, node: NodeProto) -> str:
    """A layer's own name, that of the layer whose input a quantizer makes, or "after" the layers above."""
    if weight_input(graph, node) is not None:
        return node.name
    if is_activation(graph, node):
        consumers = _layers_below(graph, node.output[0])
        if len(consumers) == 1:
            return f"{consumers[0]}, input"
    return layers_above(graph, node)


def layers_above(graph: GraphEditor, node: NodeProto) -> str:
    """The nearest layers above a node, at most two by name."""
    found: list[str] = []
    waiting, seen = list(graph.dynamic_inputs(node)), set()
    while waiting:
        producer = graph.producer(waiting.pop(0))
        if producer is None or producer.name in seen:
            continue
        seen.add(producer.name)
        if weight_input(graph, producer) is not None:
            found.append(producer.name)
        else:
            waiting += graph.dynamic_inputs(producer)
    if not found:
        return "the image"
    return f"after {' and '.join(sorted(found)[:2])}" + (" and others" if len(found) > 2 else "")


def _layers_below(graph: GraphEditor, name: str) -> list[str]:
    """Names of the layers that read a value, through what only moves values."""
    found = []
    for consumer in graph.consumers(name):
        if weight_input(graph, consumer) is not None:
            found.append(consumer.name)
        elif len(graph.dynamic_inputs(consumer)) == 1 and not is_activation(graph, consumer):
            found += _layers_below(graph, consumer.output[0])
    return found
