"""Scales and offsets moved past the sum or the concatenation of branches.

FINN's passes for this ignore other consumers of a branch's scaled value; where there are some, as in the
second block of a residual network, they create a cycle in the graph. Nor do they expect the image as one.
"""

import numpy as np
from onnx import NodeProto
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.util.basic import get_by_name

from hw.steps.graph_edits import constant_input, insert_before, new_constant, new_tensor, only_consumer


def move_past_sum(model: ModelWrapper, node: NodeProto) -> bool:
    """x * c + y * c becomes (x + y) * c; (x + a) + (y + b) becomes (x + y) + (a + b)."""
    if node.op_type != "Add" or node.input[0] == node.input[1]:
        return False
    producers = [model.find_producer(name) for name in node.input]
    if any(producer is None or only_consumer(model, producer.output[0]) is None for producer in producers):
        return False
    first, second = (constant_input(model, producer) for producer in producers)
    kinds = {producer.op_type for producer in producers}
    if first is None or second is None or len(kinds) != 1 or not kinds <= {"Mul", "Add"}:
        return False
    (kind,) = kinds
    if kind == "Mul" and not np.array_equal(first, second):
        return False
    combined = new_constant(model, first if kind == "Mul" else first + second)
    total = new_tensor(model, model.get_tensor_shape(node.output[0]))
    insert_before(model, node, "Add", [producer.input[0] for producer in producers], (total,))
    insert_before(model, node, kind, (total, combined), (node.output[0],))
    for each in (*producers, node):
        model.graph.node.remove(each)
    return True


def move_scale_past_concat(model: ModelWrapper, node: NodeProto) -> bool:
    """Concat(x * c, y * c) becomes Concat(x, y) * c."""
    if node.op_type != "Concat":
        return False
    producers = [model.find_producer(name) for name in node.input]
    if any(producer is None or producer.op_type != "Mul" for producer in producers):
        return False
    scales = [constant_input(model, producer) for producer in producers]
    alone = all(only_consumer(model, producer.output[0]) is not None for producer in producers)
    known = [scale for scale in scales if scale is not None and scale.size == 1]
    if not alone or len(known) < len(scales) or len({scale.item() for scale in known}) > 1:
        return False
    joined = new_tensor(model, model.get_tensor_shape(node.output[0]))
    insert_before(
        model, node, "Concat", [producer.input[0] for producer in producers], (joined,),
        axis=get_by_name(node.attribute, "axis").i,
    )  # fmt: skip
    insert_before(model, node, "Mul", (joined, new_constant(model, known[0])), (node.output[0],))
    for each in (*producers, node):
        model.graph.node.remove(each)
    return True
