"""Layers with channels of two widths (VEFT's restored ones) split into two parallel layers.

The two results are concatenated, wide channels last. This permutation is pushed through channel-wise
operators to the layers that read the channels, whose weights are permuted to match. Where a sum or the heads
of an attention are in between, the layer is not split and is built at the wider width.
"""

from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from brevitas_defakeq.export.finn.channel_permutation import PermutedValue, push_permutation
from brevitas_defakeq.export.finn.graph_editor import (
    GraphEditor,
    get_attribute,
    make_node,
    remove_unused_nodes_,
)
from brevitas_defakeq.export.finn.quant_node import quant_node, smallest_type
from brevitas_defakeq.export.finn.scale_propagation import integers_and_scale
from brevitas_defakeq.export.finn.weight_quantizers import LayerWeights, inputs_first, read_layer_weights


@dataclass(frozen=True)
class ChannelIntegers:
    """A layer's integers [C_out, ...], scales [C_out] and the bits that each channel needs, int [C_out]."""

    integers: np.ndarray
    scale: np.ndarray
    bits: np.ndarray

    @classmethod
    def from_layer(cls, layer: NodeProto, weights: LayerWeights) -> "ChannelIntegers":
        """The layer's weights with output channels first."""
        integers, scale = weights.integers, np.broadcast_to(weights.scale, weights.integers.shape)
        if inputs_first(layer):
            integers, scale = integers.T, scale.T
        flat = integers.reshape(len(integers), -1)
        bits = [smallest_type(min(int(row.min()), -1), int(row.max()))[0] for row in flat]
        return cls(integers, scale.reshape(len(integers), -1)[:, 0], np.array(bits))


def split_mixed_layers_(
    graph: GraphEditor, narrow: dict[str, int]
) -> tuple[list[str], dict[str, PermutedValue]]:
    """Split every layer that has channels of two widths.

    Args:
        narrow: layer -> bits of its narrow channels.

    Returns:
        names of the layers that were not split, and the values whose channels were permuted.
    """
    unsplit: list[str] = []
    permuted: dict[str, PermutedValue] = {}
    for layer in graph.nodes:
        if layer.name not in narrow:
            continue
        weights = read_layer_weights(graph, layer)
        if weights is None:
            continue
        channels = ChannelIntegers.from_layer(layer, weights)
        wide = channels.bits > narrow[layer.name]
        permutation, shape = np.argsort(wide, kind="stable"), graph.shapes[layer.output[0]]
        pushed = None
        if wide.any() and not wide.all() and _can_be_split(graph, layer):
            pushed = push_permutation(graph, layer.output[0], permutation)
        if pushed is None:
            unsplit.append(layer.name)
            continue
        permuted |= pushed
        _split_(graph, layer, channels, wide, permutation, shape)
    remove_unused_nodes_(graph)
    return unsplit, permuted


def _can_be_split(graph: GraphEditor, layer: NodeProto) -> bool:
    plain = layer.op_type != "Conv" or get_attribute(layer, "group", 1) == 1
    return plain and not graph.is_static(layer.input[0])


def _split_(
    graph: GraphEditor,
    layer: NodeProto,
    channels: ChannelIntegers,
    wide: np.ndarray,
    permutation: np.ndarray,
    shape: list[int],
) -> None:
    """Replace a layer by two on integers, a concatenation, and each channel's scale and bias.

    Args:
        wide: bool [C_out], the channels of the wide layer.
        permutation: int [C_out], narrow channels first.
        shape: of the layer's output.
    """
    axis = 1 if layer.op_type == "Conv" else len(shape) - 1
    along = [-1 if index == axis else 1 for index in range(len(shape))]
    source = integers_and_scale(graph, layer.input[0]) or (layer.input[0], np.float32(1))
    parts: list[str] = []
    new: list[NodeProto] = []
    for kind, chosen in (("narrow", ~wide), ("wide", wide)):
        name = f"{layer.name}.{kind}"
        bits = int(channels.bits[chosen].max())
        part, nodes = _part(graph, layer, source[0], channels.integers[chosen], bits, name)
        parts.append(part)
        new += nodes
    steps = [("Mul", channels.scale * source[1])]
    if len(layer.input) > 2:
        steps.append(("Add", graph.constants[layer.input[2]]))
    value = graph.new_name(f"{layer.output[0]}.joined", shape)
    new.append(make_node("Concat", parts, value, f"{layer.name}.joined", axis=axis))
    for number, (operator, values) in enumerate(steps):
        vector = graph.add_constant(
            values[permutation].reshape(along).astype(np.float32), f"{layer.name}.{operator}"
        )
        output = (
            layer.output[0]
            if number == len(steps) - 1
            else graph.new_name(f"{layer.output[0]}.scaled", shape)
        )
        new.append(make_node(operator, [value, vector], output, f"{layer.name}.{operator}"))
        value = output
    graph.insert_before(layer, *new)
    graph.remove(layer)


def _part(
    graph: GraphEditor, layer: NodeProto, source: str, integers: np.ndarray, bits: int, name: str
) -> tuple[str, list[NodeProto]]:
    """A layer with some of the output channels and scale 1: the name of its result, and its nodes."""
    values, shape = integers if layer.op_type == "Conv" else integers.T, list(graph.shapes[layer.output[0]])
    shape[1 if layer.op_type == "Conv" else -1] = len(integers)
    weights = graph.new_name(f"{name}.weight", list(values.shape))
    result = graph.new_name(f"{name}.result", shape)
    stored = graph.add_constant(values.astype(np.float32), f"{name}.values")
    quant = quant_node(
        graph, stored, weights, f"{name}.quantizer", scale=np.float32(1), bits=bits, signed=True
    )
    part = NodeProto()
    part.CopyFrom(layer)
    if layer.op_type == "Gemm":
        part = make_node("MatMul", [], result, name)
    part.name, part.output[0] = name, result
    part.input[:] = [source, weights]
    return result, [quant, part]
