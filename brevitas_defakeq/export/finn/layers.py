"""Layers in the forms that FINN lowers: dense or depthwise convolutions, global sums, plain attributes."""

import numpy as np
from onnx import NodeProto

from brevitas_defakeq.export.finn.graph import Graph, attribute, node, set_attribute
from brevitas_defakeq.export.finn.quantizer import quant_node
from brevitas_defakeq.export.finn.weights import weight_quantizer


def spell_out_(graph: Graph) -> None:
    """Write attributes that ONNX lets be left out and FINN's transformations read."""
    for item in graph.nodes:
        if item.op_type not in ("Conv", "MaxPool", "AveragePool"):
            continue
        if attribute(item, "kernel_shape") is None and item.op_type == "Conv":
            set_attribute(item, "kernel_shape", graph.shapes[item.input[1]][2:])
        rank = len(attribute(item, "kernel_shape", [1, 1]))
        for name, usual in (("strides", [1] * rank), ("dilations", [1] * rank), ("pads", [0] * 2 * rank)):
            if attribute(item, name) is None and attribute(item, "auto_pad", "NOTSET") == "NOTSET":
                set_attribute(item, name, usual)
        if item.op_type == "Conv":
            set_attribute(item, "group", attribute(item, "group", 1))


def pool_globally_(graph: Graph) -> None:
    """A mean over all places of a map becomes ``GlobalAveragePool``, which sums integers."""
    for mean in graph.nodes:
        if not is_global_mean(graph, mean):
            continue
        keeps = mean.op_type == "AveragePool" or attribute(mean, "keepdims", 1)
        pooled, shape = mean.output[0], graph.shapes[mean.output[0]]
        if not keeps:
            pooled = graph.fresh(f"{pooled}.pooled", [*shape, 1, 1])
        new = [node("GlobalAveragePool", [mean.input[0]], pooled, mean.name)]
        if not keeps:
            new.append(node("Flatten", [pooled], mean.output[0], f"{mean.name}.flat", axis=1))
        graph.put(mean, *new)
        graph.drop(mean)


def is_global_mean(graph: Graph, item: NodeProto) -> bool:
    """Whether a node is the mean over height and width of a map [1, C, H, W]."""
    shape = graph.shapes.get(item.input[0], []) if item.input else []
    if len(shape) != 4:
        return False
    if item.op_type == "ReduceMean":
        axes = attribute(item, "axes")
        if axes is None and len(item.input) > 1:
            axes = graph.constants.get(item.input[1])
        return axes is not None and sorted(int(axis) % 4 for axis in axes) == [2, 3]
    whole = attribute(item, "kernel_shape") == shape[2:] and not any(attribute(item, "pads", [0]))
    return item.op_type == "AveragePool" and whole


def average_by_convolution_(graph: Graph) -> None:
    """A mean over a window is a depthwise convolution with ones; FINN has no other form of it."""
    for pool in graph.nodes:
        if pool.op_type == "AveragePool" and can_be_convolution(pool):
            geometry = {name: attribute(pool, name) for name in ("kernel_shape", "strides", "pads")}
            _convolve_with_ones_(graph, pool, 1 / np.prod(geometry["kernel_shape"]), geometry)


def pad_by_convolution_(graph: Graph) -> None:
    """Zeros around a map that no convolution could take over: a window of one place, and a weight of 1."""
    for pad in graph.nodes:
        amounts = spatial_padding(graph, pad)
        if amounts is not None:
            geometry = {"kernel_shape": [1, 1], "strides": [1, 1], "pads": amounts.tolist()}
            _convolve_with_ones_(graph, pad, 1.0, geometry)


def _convolve_with_ones_(graph: Graph, item: NodeProto, value: float, geometry: dict) -> None:
    """Put a depthwise convolution whose weights are all ``value`` in a node's place."""
    channels, name = graph.shapes[item.input[0]][1], item.name
    values = np.full((channels, 1, *geometry["kernel_shape"]), value, np.float32)
    weights = graph.fresh(f"{name}.weight", list(values.shape))
    ones = quant_node(
        graph, graph.constant(values, f"{name}.ones"), weights, f"{name}.quantizer", scale=np.float32(value),
        bits=2, signed=True, narrow=True,
    )  # fmt: skip
    convolution = node(
        "Conv", [item.input[0], weights], item.output[0], name, group=channels, dilations=[1, 1], **geometry
    )
    graph.put(item, ones, convolution)
    graph.drop(item)


def spatial_padding(graph: Graph, pad: NodeProto) -> np.ndarray | None:
    """Zeros around the map [1, C, H, W]: top, left, bottom, right; None for any other node."""
    if pad.op_type != "Pad" or not is_zero_padding(graph, pad) or (len(pad.input) > 3 and pad.input[3]):
        return None
    amounts = graph.constants[pad.input[1]]
    return amounts[[2, 3, 6, 7]] if len(amounts) == 8 and not amounts[[0, 1, 4, 5]].any() else None


def is_zero_padding(graph: Graph, pad: NodeProto) -> bool:
    """Whether a ``Pad`` adds constant zeros, and takes nothing away."""
    value = graph.constants.get(pad.input[2]) if len(pad.input) > 2 and pad.input[2] else np.zeros(1)
    amounts = graph.constants.get(pad.input[1])
    constant = attribute(pad, "mode", "constant") == "constant" and value is not None and not value.any()
    return constant and amounts is not None and bool((amounts >= 0).all())


def merge_paddings_(graph: Graph) -> None:
    """Zeros added before a convolution become its own padding: FINN pads within the convolution."""
    for pad in graph.nodes:
        amounts, readers = spatial_padding(graph, pad), graph.readers(pad.output[0])
        if amounts is None or not readers or any(reader.op_type != "Conv" for reader in readers):
            continue
        for convolution in readers:
            whole = np.array(attribute(convolution, "pads")) + amounts
            set_attribute(convolution, "pads", whole.tolist())
        graph.read_instead(pad.output[0], pad.input[0])
        graph.drop(pad)


def can_be_convolution(pool: NodeProto) -> bool:
    """Whether every output of an ``AveragePool`` is a sum over the same number of values."""
    padded = any(attribute(pool, "pads", [0]))
    plain = not attribute(pool, "ceil_mode", 0) and set(attribute(pool, "dilations", [1])) == {1}
    return plain and len(attribute(pool, "kernel_shape")) == 2 and (
        not padded or attribute(pool, "count_include_pad", 0) == 1
    )  # fmt: skip


def densify_groups_(graph: Graph) -> None:
    """A grouped convolution that is not depthwise becomes a dense one whose other weights are zero."""
    for convolution in graph.nodes:
        quant = weight_quantizer(graph, convolution)
        if quant is None or not is_grouped(graph, convolution):
            continue
        groups, weights = attribute(convolution, "group"), graph.constants[quant.input[0]]
        quant.input[0] = graph.constant(_dense(weights, groups), f"{convolution.name}.dense")
        set_attribute(convolution, "group", 1)


def is_grouped(graph: Graph, convolution: NodeProto) -> bool:
    """Whether a convolution has groups that FINN cannot lower: neither one, nor one for each channel."""
    if convolution.op_type != "Conv":
        return False
    outputs, inputs = graph.shapes[convolution.output[0]][1], graph.shapes[convolution.input[0]][1]
    groups = attribute(convolution, "group", 1)
    return groups != 1 and not groups == inputs == outputs


def _dense(weights: np.ndarray, groups: int) -> np.ndarray:
    """Weights [C_out, C_in / groups, k, k] among zeros [C_out, C_in, k, k]."""
    outputs, inputs = weights.shape[0] // groups, weights.shape[1]
    dense = np.zeros((weights.shape[0], inputs * groups, *weights.shape[2:]), np.float32)
    for group in range(groups):
        rows = slice(group * outputs, (group + 1) * outputs)
        dense[rows, group * inputs : (group + 1) * inputs] = weights[rows]
    return dense
