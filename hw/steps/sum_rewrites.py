"""Scales and offsets moved past the sum of two branches.

FINN's pass for this ignores other consumers of a branch's scaled value; where there are some, as in the
second block of a residual network, it creates a cycle in the graph.
"""

import numpy as np
from onnx import NodeProto
from qonnx.core.modelwrapper import ModelWrapper

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
