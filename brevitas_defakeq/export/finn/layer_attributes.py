"""Layers in the forms that FINN lowers: explicit attributes, dense or depthwise convolutions."""

import numpy as np
from onnx import NodeProto

from brevitas_defakeq.export.finn.graph_editor import GraphEditor, get_attribute, set_attribute
from brevitas_defakeq.export.finn.weight_quantizers import weight_quantizer


def set_default_attributes_(graph: GraphEditor) -> None:
    """Write out the optional ONNX attributes that FINN's transformations read."""
    for item in graph.nodes:
        if item.op_type not in ("Conv", "MaxPool", "AveragePool"):
            continue
        if get_attribute(item, "kernel_shape") is None and item.op_type == "Conv":
            set_attribute(item, "kernel_shape", graph.shapes[item.input[1]][2:])
        rank = len(get_attribute(item, "kernel_shape", [1, 1]))
        for name, usual in (("strides", [1] * rank), ("dilations", [1] * rank), ("pads", [0] * 2 * rank)):
            if get_attribute(item, name) is None and get_attribute(item, "auto_pad", "NOTSET") == "NOTSET":
                set_attribute(item, name, usual)
        if item.op_type == "Conv":
            set_attribute(item, "group", get_attribute(item, "group", 1))
        elif get_attribute(item, "ceil_mode", 0) and _divides(graph, item):
            set_attribute(item, "ceil_mode", 0)


def _divides(graph: GraphEditor, pool: NodeProto) -> bool:
    """Whether rounding a pooling's output size up or down gives the same size."""
    kernel, strides = get_attribute(pool, "kernel_shape"), get_attribute(pool, "strides")
    pads, sides = get_attribute(pool, "pads", [0] * 2 * len(kernel)), graph.shapes[pool.input[0]][2:]
    return all(
        (side + pads[axis] + pads[axis + len(kernel)] - kernel[axis]) % strides[axis] == 0
        for axis, side in enumerate(sides)
    )


def set_split_sizes_(graph: GraphEditor) -> None:
    """Write out the sizes of the parts of every ``Split``, which FINN reads as a constant."""
    for item in graph.nodes:
        if item.op_type == "Split" and len(item.input) < 2:
            axis = get_attribute(item, "axis", 0)
            sizes = np.array([graph.shapes[name][axis] for name in item.output], np.int64)
            item.input.append(graph.add_constant(sizes, f"{item.name}.sizes"))
            for attribute in [each for each in item.attribute if each.name == "num_outputs"]:
                item.attribute.remove(attribute)


def double_sums_(graph: GraphEditor) -> None:
    """Turn x + x into 2 x: hardware adds two streams."""
    for item in graph.nodes:
        if item.op_type == "Add" and item.input[0] == item.input[1]:
            item.op_type = "Mul"
            item.input[1] = graph.add_constant(np.array(2, np.float32), f"{item.name}.factor")


def densify_groups_(graph: GraphEditor) -> None:
    """Turn grouped convolutions that are not depthwise into dense ones, with zeros between the groups."""
    for convolution in graph.nodes:
        quant = weight_quantizer(graph, convolution)
        if quant is None or not is_grouped(graph, convolution):
            continue
        groups, weights = get_attribute(convolution, "group"), graph.constants[quant.input[0]]
        quant.input[0] = graph.add_constant(_dense(weights, groups), f"{convolution.name}.dense")
        set_attribute(convolution, "group", 1)


def is_grouped(graph: GraphEditor, convolution: NodeProto) -> bool:
    """Whether a convolution has groups that FINN cannot lower: neither one group nor one per channel."""
    if convolution.op_type != "Conv":
        return False
    outputs, inputs = graph.shapes[convolution.output[0]][1], graph.shapes[convolution.input[0]][1]
    groups = get_attribute(convolution, "group", 1)
    return groups != 1 and not groups == inputs == outputs


def _dense(weights: np.ndarray, groups: int) -> np.ndarray:
    """Weights [C_out, C_in / groups, k, k] among zeros [C_out, C_in, k, k]."""
    outputs, inputs = weights.shape[0] // groups, weights.shape[1]
    dense = np.zeros((weights.shape[0], inputs * groups, *weights.shape[2:]), np.float32)
    for group in range(groups):
        rows = slice(group * outputs, (group + 1) * outputs)
        dense[rows, group * inputs : (group + 1) * inputs] = weights[rows]
    return dense
