"""Weights without zero points: the integers ``code - zero_point``, with one quantizer per layer."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from brevitas_defakeq.export.finn.graph_editor import GraphEditor, get_attribute, remove_unused_nodes_
from brevitas_defakeq.export.finn.quant_node import QuantGrid, quant_node, smallest_type

#: Operator -> the indices of inputs that may be weights.
_WEIGHT_INPUTS = {"Conv": (1,), "Gemm": (1,), "MatMul": (1, 0)}


@dataclass(frozen=True)
class LayerWeights:
    """The weights of a layer: ``integers * scale``.

    Attributes:
        name: the value that holds them in the graph.
        integers: float32, in the layer's layout; the float weights themselves if ``is_float``.
        scale: float32, broadcastable over ``integers``.
        bits, signed, narrow: the type of the integers.
        widths: bits of each part they are concatenated from (VEFT's restored channels are one part).
        zero_point_bits: how many of ``bits`` the zero points add.
        is_float: whether some part is not quantized.
    """

    name: str
    integers: np.ndarray
    scale: np.ndarray
    bits: int
    signed: bool
    narrow: bool
    widths: tuple[int, ...]
    zero_point_bits: int
    is_float: bool


def weight_input(graph: GraphEditor, layer: NodeProto) -> str | None:
    """The static operand of a product; None for other nodes and products of two activations."""
    operands = (layer.input[index] for index in _WEIGHT_INPUTS.get(layer.op_type, ()))
    return next((name for name in operands if graph.is_static(name)), None)


def weight_quantizer(graph: GraphEditor, layer: NodeProto) -> NodeProto | None:
    """The ``Quant`` node of a layer's weights, after ``rewrite_weights_``."""
    name = weight_input(graph, layer)
    producer = None if name is None else graph.producer(name)
    return producer if producer is not None and producer.op_type == "Quant" else None


def inputs_first(layer: NodeProto) -> bool:
    """Whether a layer's weights are [in, out]."""
    return layer.op_type == "MatMul" or (layer.op_type == "Gemm" and not get_attribute(layer, "transB", 0))


def read_layer_weights(graph: GraphEditor, layer: NodeProto) -> LayerWeights | None:
    """A layer's weights, concatenated where they are computed from parts; None without static operand."""
    name = weight_input(graph, layer)
    if name is None:
        return None
    parts, permutation, axis = _parts(graph, name)
    if len(parts) == 1 and permutation is None:
        return parts[0]
    integers = np.concatenate([part.integers for part in parts], axis)
    scale = np.concatenate([np.broadcast_to(part.scale, _scale_shape(part, axis)) for part in parts], axis)
    if permutation is not None:
        integers, scale = np.take(integers, permutation, axis), np.take(scale, permutation, axis)
    widest = max(parts, key=lambda part: part.bits)
    return LayerWeights(
        name, integers, scale, widest.bits, signed=any(part.signed for part in parts), narrow=False,
        widths=tuple(width for part in parts for width in part.widths),
        zero_point_bits=max(part.zero_point_bits for part in parts),
        is_float=any(part.is_float for part in parts),
    )  # fmt: skip


def _parts(graph: GraphEditor, name: str) -> tuple[list[LayerWeights], np.ndarray | None, int]:
    """The parts of static weights, the permutation of their channels (None: as they are), and the axis."""
    producer = graph.producer(name)
    if producer is not None and producer.op_type == "Gather" and graph.is_constant(producer.input[1]):
        parts, _, axis = _parts(graph, producer.input[0])
        return parts, graph.constants[producer.input[1]], axis
    if producer is not None and producer.op_type == "Concat":
        parts = [part for source in producer.input for part in _parts(graph, source)[0]]
        return parts, None, get_attribute(producer, "axis")
    return [_part(graph, name, producer)], None, 0


def _part(graph: GraphEditor, name: str, quant: NodeProto | None) -> LayerWeights:
    if quant is None or quant.op_type != "Quant" or not graph.is_constant(quant.input[0]):
        values = graph.constants.get(name, np.zeros(1, np.float32))
        return LayerWeights(
            name, values, np.ones([1] * values.ndim, np.float32), 32, True, False, (32,), 0, True
        )
    grid = QuantGrid.from_node(graph, quant)
    integers = grid.integers(graph.constants[quant.input[0]]).astype(np.float32)
    width = int(grid.bits.max())
    if grid.signed and not grid.zero_point.any():
        return LayerWeights(name, integers, grid.scale, width, True, grid.narrow, (width,), 0, False)
    # Always signed: FINN's kernels multiply by signed weights.
    bits = smallest_type(min(int(integers.min()), -1), int(integers.max()))[0]
    return LayerWeights(name, integers, grid.scale, bits, True, False, (bits,), bits - width, False)


def _scale_shape(part: LayerWeights, axis: int) -> list[int]:
    """The shape of a part's scales: one per channel along the axis."""
    return [size if index == axis else 1 for index, size in enumerate(part.integers.shape)]


def rewrite_weights_(graph: GraphEditor) -> dict[str, int]:
    """Give every layer its own weight quantizer, with zero point 0 and the bits that its integers need.

    The layer multiplies by ``scale (code - zero_point)``; the difference is an integer of at most one more
    bit.

    Returns:
        layer -> bits of its narrow channels, for layers that have channels of two widths.
    """
    narrow: dict[str, int] = {}
    for layer, weights in _quantized_layers(graph):
        output = graph.new_name(f"{layer.name}.signed", graph.shapes[weights.name])
        values = (weights.integers * weights.scale).astype(np.float32)
        quant = quant_node(
            graph, graph.add_constant(values, f"{layer.name}.values"), output, f"{layer.name}.quantizer",
            scale=weights.scale, bits=weights.bits, signed=weights.signed, narrow=weights.narrow,
        )  # fmt: skip
        graph.insert_before(layer, quant)
        graph.redirect(weights.name, output, [layer])
        if len(set(weights.widths)) > 1:
            narrow[layer.name] = min(weights.widths)
    remove_unused_nodes_(graph)
    return narrow


def _quantized_layers(graph: GraphEditor) -> Iterator[tuple[NodeProto, LayerWeights]]:
    for layer in graph.nodes:
        weights = read_layer_weights(graph, layer)
        if weights is not None and not weights.is_float:
            yield layer, weights
