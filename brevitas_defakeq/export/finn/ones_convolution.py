"""Depthwise convolutions with equal weights, which sum or pad each channel."""

import numpy as np
from onnx import NodeProto

from brevitas_defakeq.export.finn.graph_editor import GraphEditor, make_node
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
