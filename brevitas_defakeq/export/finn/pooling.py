"""Means in the forms that FINN maps: a global sum or a convolution with equal weights.

FINN moves the division into the thresholds that follow.
"""

import numpy as np
from onnx import NodeProto

from brevitas_defakeq.export.finn.graph_editor import GraphEditor, get_attribute, make_node
from brevitas_defakeq.export.finn.ones_convolution import replace_by_constant_convolution_


def pool_globally_(graph: GraphEditor) -> None:
    """Turn means over height and width into ``GlobalAveragePool``, which FINN maps to a sum of integers."""
    for mean in graph.nodes:
        if not is_global_mean(graph, mean):
            continue
        pooled, flat = graph.shapes[mean.input[0]][:2] + [1, 1], graph.shapes[mean.output[0]]
        result = mean.output[0] if flat == pooled else graph.new_name(f"{mean.output[0]}.pooled", pooled)
        new = [make_node("GlobalAveragePool", [mean.input[0]], result, mean.name)]
        if flat != pooled:
            new.append(make_node("Flatten", [result], mean.output[0], f"{mean.name}.flat", axis=1))
        graph.insert_before(mean, *new)
        graph.remove(mean)


def _mean_axes(graph: GraphEditor, item: NodeProto) -> list[int]:
    """The axes of a ``ReduceMean``, non-negative and sorted; empty for any other node."""
    if item.op_type != "ReduceMean":
        return []
    axes = get_attribute(item, "axes")
    if axes is None and len(item.input) > 1:
        axes = graph.constants.get(item.input[1])
    rank = len(graph.shapes[item.input[0]])
    return [] if axes is None else sorted(int(axis) % rank for axis in axes)


def is_global_mean(graph: GraphEditor, item: NodeProto) -> bool:
    """Whether a node is the mean over height and width of a map [1, C, H, W]."""
    shape = graph.shapes.get(item.input[0], []) if item.input else []
    if len(shape) != 4 or item.op_type != "AveragePool":
        return len(shape) == 4 and _mean_axes(graph, item) == [2, 3]
    return get_attribute(item, "kernel_shape") == shape[2:] and not any(get_attribute(item, "pads", [0]))


def average_by_convolution_(graph: GraphEditor) -> None:
    """Turn every ``AveragePool`` into a depthwise convolution with equal weights, the only form FINN maps."""
    for pool in graph.nodes:
        if pool.op_type == "AveragePool" and can_be_convolution(pool):
            geometry = {name: get_attribute(pool, name) for name in ("kernel_shape", "strides", "pads")}
            replace_by_constant_convolution_(graph, pool, 1 / np.prod(geometry["kernel_shape"]), geometry)


def can_be_convolution(pool: NodeProto) -> bool:
    """Whether every output of an ``AveragePool`` averages the same number of values."""
    padded = any(get_attribute(pool, "pads", [0]))
    plain = not get_attribute(pool, "ceil_mode", 0) and set(get_attribute(pool, "dilations", [1])) == {1}
    return plain and len(get_attribute(pool, "kernel_shape")) == 2 and (
        not padded or get_attribute(pool, "count_include_pad", 0) == 1
    )  # fmt: skip
