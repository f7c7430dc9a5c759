"""Layers with channels of two widths (VEFT's restored ones) as two layers beside each other.

The two results are joined by a concatenation, which puts the wide channels last. That order is taken along,
through what works on each channel alone, up to the layers that read the channels, whose weights are sorted
to match. Where something else is met on the way, a sum or the heads of an attention, the layer stays whole at
the wide width.
"""

from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from brevitas_defakeq.export.finn.channel_permutation import Sorted, sink_order
from brevitas_defakeq.export.finn.graph_editor import Graph, attribute, drop_unread_, node
from brevitas_defakeq.export.finn.quant_node import quant_node, smallest_type
from brevitas_defakeq.export.finn.scale_propagation import integers_of
from brevitas_defakeq.export.finn.weight_quantizers import Weights, inputs_first, read_weights


@dataclass(frozen=True)
class Channels:
    """A layer's integers [C_out, ...], its scales [C_out], and the bits that each channel takes [C_out]."""

    integers: np.ndarray
    scale: np.ndarray
    bits: np.ndarray

    @classmethod
    def of(cls, layer: NodeProto, weights: Weights) -> "Channels":
        integers, scale = weights.integers, np.broadcast_to(weights.scale, weights.integers.shape)
        if inputs_first(layer):
            integers, scale = integers.T, scale.T
        flat = integers.reshape(len(integers), -1)
        bits = [smallest_type(min(int(row.min()), -1), int(row.max()))[0] for row in flat]
        return cls(integers, scale.reshape(len(integers), -1)[:, 0], np.array(bits))


def split_wide_(graph: Graph, narrow: dict[str, int]) -> tuple[list[str], dict[str, Sorted]]:
    """Split every layer that has channels of two widths.

    Args:
        narrow: layer -> width of its narrow channels.

    Returns:
        names of the layers that stay whole at the wide width, and the values whose channels
        were sorted.
    """
    whole: list[str] = []
    orders: dict[str, Sorted] = {}
    for layer in graph.nodes:
        if layer.name not in narrow:
            continue
        channels = Channels.of(layer, read_weights(graph, layer))
        wide = channels.bits > narrow[layer.name]
        order, shape = np.argsort(wide, kind="stable"), graph.shapes[layer.output[0]]
        sorted_values = None
        if wide.any() and not wide.all() and _can_be_split(graph, layer):
            sorted_values = sink_order(graph, layer.output[0], order)
        if sorted_values is None:
            whole.append(layer.name)
            continue
        orders |= sorted_values
        _split_(graph, layer, channels, wide, order, shape)
    drop_unread_(graph)
    return whole, orders


def _can_be_split(graph: Graph, layer: NodeProto) -> bool:
    plain = layer.op_type != "Conv" or attribute(layer, "group", 1) == 1
    return plain and not graph.is_fixed(layer.input[0])


def _split_(
    graph: Graph, layer: NodeProto, channels: Channels, wide: np.ndarray, order: np.ndarray, shape: list[int]
) -> None:
    """Two layers on integer weights, joined, then each channel's scale and bias in the joined order."""
    axis = 1 if layer.op_type == "Conv" else len(shape) - 1
    along = [-1 if place == axis else 1 for place in range(len(shape))]
    source = integers_of(graph, layer.input[0]) or (layer.input[0], np.float32(1))
    parts, new = [], []
    for kind, chosen in (("narrow", ~wide), ("wide", wide)):
        name = f"{layer.name}.{kind}"
        bits = int(channels.bits[chosen].max())
        part, nodes = _part(graph, layer, source[0], channels.integers[chosen], bits, name)
        parts.append(part)
        new += nodes
    steps = [("Mul", channels.scale * source[1])]
    if len(layer.input) > 2:
        steps.append(("Add", graph.constants[layer.input[2]]))
    value = graph.fresh(f"{layer.output[0]}.joined", shape)
    new.append(node("Concat", parts, value, f"{layer.name}.joined", axis=axis))
    for number, (operator, values) in enumerate(steps):
        vector = graph.constant(values[order].reshape(along).astype(np.float32), f"{layer.name}.{operator}")
        output = (
            layer.output[0] if number == len(steps) - 1 else graph.fresh(f"{layer.output[0]}.scaled", shape)
        )
        new.append(node(operator, [value, vector], output, f"{layer.name}.{operator}"))
        value = output
    graph.put(layer, *new)
    graph.drop(layer)


def _part(
    graph: Graph, layer: NodeProto, source: str, integers: np.ndarray, bits: int, name: str
) -> tuple[str, list[NodeProto]]:
    """The layer on some of its output channels, with scale 1; the name of its result."""
    values, shape = integers if layer.op_type == "Conv" else integers.T, list(graph.shapes[layer.output[0]])
    shape[1 if layer.op_type == "Conv" else -1] = len(integers)
    weights = graph.fresh(f"{name}.weight", list(values.shape))
    result = graph.fresh(f"{name}.result", shape)
    stored = graph.constant(values.astype(np.float32), f"{name}.values")
    quant = quant_node(
        graph, stored, weights, f"{name}.quantizer", scale=np.float32(1), bits=bits, signed=True
    )
    part = NodeProto()
    part.CopyFrom(layer)
    if layer.op_type == "Gemm":
        part = node("MatMul", [], result, name)
    part.name, part.output[0] = name, result
    part.input[:] = [source, weights]
    return result, [quant, part]
