"""Scales and offsets past the sum of two branches.

FINN's own pass for this does not ask whether others read a branch's scaled value too; where they do, as in
the second block of a residual network, it ties the graph into a knot.
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
    constants = [constant_input(model, producer) for producer in producers]
    kinds = {producer.op_type for producer in producers}
    if any(constant is None for constant in constants) or len(kinds) != 1 or not kinds <= {"Mul", "Add"}:
        return False
    (kind,) = kinds
    if kind == "Mul" and not np.array_equal(*constants):
        return False
    together = new_constant(model, constants[0] if kind == "Mul" else constants[0] + constants[1])
    total = new_tensor(model, model.get_tensor_shape(node.output[0]))
    insert_before(model, node, "Add", [producer.input[0] for producer in producers], (total,))
    insert_before(model, node, kind, (total, together), (node.output[0],))
    for each in (*producers, node):
        model.graph.node.remove(each)
    return True
