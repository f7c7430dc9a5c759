"""Convolutions with weights 0 and 1: depthwise ones, which sum or pad each channel, and shuffled channels."""

import numpy as np
from onnx import NodeProto

from brevitas_defakeq.export.finn.graph_editor import GraphEditor, get_attribute, make_node
from brevitas_defakeq.export.finn.quant_node import quant_node


def replace_by_constant_convolution_(
    graph: GraphEditor, item: NodeProto, value: float, geometry: dict
) -> None:
    """Replace a node by a depthwise convolution whose weights are all ``value``.

    Args:
        geometry: ``kernel_shape``, ``strides`` and ``pads`` of the convolution.
    """
    channels, name = graph.shapes[item.input[0]][1], item.name
    values = np.full((channels, 1, *geometry["kernel_shape"]), value, np.float32)
    weights = graph.new_name(f"{name}.weight", list(values.shape))
    ones = quant_node(
        graph, graph.add_constant(values, f"{name}.ones"), weights, f"{name}.quantizer",
        scale=np.float32(value), bits=2, signed=True, narrow=True,
    )  # fmt: skip
    convolution = make_node(
        "Conv", [item.input[0], weights], item.output[0], name, group=channels, dilations=[1, 1], **geometry
    )
    graph.insert_before(item, ones, convolution)
    graph.remove(item)


def shuffle_by_convolution_(graph: GraphEditor) -> None:
    """Turn every shuffle of channels into a 1 x 1 convolution whose weights are a permutation."""
    for turn in graph.nodes:
        order, start = shuffled_channels(graph, turn), graph.producer(turn.input[0])
        if order is None or start is None:
            continue
        (end,) = graph.consumers(turn.output[0])
        values = np.eye(len(order), dtype=np.float32)[order][:, :, None, None]  # [C, C, 1, 1]
        weights = graph.new_name(f"{turn.name}.weight", list(values.shape))
        permutation = quant_node(
            graph, graph.add_constant(values, f"{turn.name}.values"), weights, f"{turn.name}.quantizer",
            scale=np.float32(1), bits=2, signed=True, narrow=True,
        )  # fmt: skip
        convolution = make_node(
            "Conv", [start.input[0], weights], end.output[0], turn.name, group=1, kernel_shape=[1, 1],
            strides=[1, 1], dilations=[1, 1], pads=[0] * 4,
        )  # fmt: skip
        graph.insert_before(turn, permutation, convolution)
        graph.remove(end, turn)
        if not graph.consumers(start.output[0]):
            graph.remove(start)


def shuffled_channels(graph: GraphEditor, turn: NodeProto) -> np.ndarray | None:
    """The new order of channels, int [C], that a ``Transpose`` between two reshapes makes; else None."""
    start, readers = graph.producer(turn.input[0]), graph.consumers(turn.output[0])
    if turn.op_type != "Transpose" or start is None or start.op_type != "Reshape" or len(readers) != 1:
        return None
    before, after = graph.shapes[start.input[0]], graph.shapes[readers[0].output[0]]
    if readers[0].op_type != "Reshape" or before != after or len(before) != 4 or before[0] != 1:
        return None
    positions = np.arange(np.prod(before)).reshape(graph.shapes[start.output[0]])
    moved = positions.transpose(get_attribute(turn, "perm")).reshape(before[1], -1)
    order, side = moved[:, 0] // moved.shape[1], np.arange(moved.shape[1])
    return order if (moved == order[:, None] * moved.shape[1] + side).all() else None
