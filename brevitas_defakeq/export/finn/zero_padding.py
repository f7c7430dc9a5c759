"""Zero padding: absorbed by the convolutions that read it, or a convolution of its own."""

import numpy as np
from onnx import NodeProto

from brevitas_defakeq.export.finn.graph_editor import GraphEditor, get_attribute, set_attribute
from brevitas_defakeq.export.finn.ones_convolution import replace_by_constant_convolution_


def merge_paddings_(graph: GraphEditor) -> None:
    """Merge zero padding into the convolutions that read it; FINN pads within the convolution."""
    for pad in graph.nodes:
        amounts, consumers = spatial_padding(graph, pad), graph.consumers(pad.output[0])
        if amounts is None or not consumers or not all(_has_padding(consumer) for consumer in consumers):
            continue
        for convolution in consumers:
            whole = np.array(get_attribute(convolution, "pads")) + amounts
            set_attribute(convolution, "pads", whole.tolist())
        graph.redirect(pad.output[0], pad.input[0])
        graph.remove(pad)


def _has_padding(consumer: NodeProto) -> bool:
    """Whether a node is a convolution with explicit padding, to which more can be added."""
    return consumer.op_type == "Conv" and get_attribute(consumer, "pads") is not None


def pad_by_convolution_(graph: GraphEditor) -> None:
    """Turn the remaining zero padding into 1 x 1 depthwise convolutions with weight 1."""
    for pad in graph.nodes:
        amounts = spatial_padding(graph, pad)
        if amounts is not None:
            geometry = {"kernel_shape": [1, 1], "strides": [1, 1], "pads": amounts.tolist()}
            replace_by_constant_convolution_(graph, pad, 1.0, geometry)


def spatial_padding(graph: GraphEditor, pad: NodeProto) -> np.ndarray | None:
    """Zeros added around a map [1, C, H, W] as [top, left, bottom, right]; None for any other node."""
    if pad.op_type != "Pad" or not is_zero_padding(graph, pad) or (len(pad.input) > 3 and pad.input[3]):
        return None
    amounts = graph.constants[pad.input[1]]
    return amounts[[2, 3, 6, 7]] if len(amounts) == 8 and not amounts[[0, 1, 4, 5]].any() else None


def is_zero_padding(graph: GraphEditor, pad: NodeProto) -> bool:
    """Whether a ``Pad`` node adds constant zeros and crops nothing."""
    value = graph.constants.get(pad.input[2]) if len(pad.input) > 2 and pad.input[2] else np.zeros(1)
    amounts = graph.constants.get(pad.input[1])
    constant = get_attribute(pad, "mode", "constant") == "constant" and value is not None and not value.any()
    return constant and amounts is not None and bool((amounts >= 0).all())
