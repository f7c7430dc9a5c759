"""Chains of nodes that only move values, fused into one Reshape where the order of values is kept."""

from math import prod

import numpy as np
from onnx import NodeProto
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.util.basic import get_by_name

from hw.steps.graph_edits import insert_before, new_constant, only_consumer

#: Operators that change a tensor's shape but not the order of its values in memory.
_RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


def fuse_data_movement(model: ModelWrapper, node: NodeProto) -> bool:
    """Fuse a chain of reshapes and transposes that keeps the order of values, such as patches to tokens."""
    chain = _chain(model, node)
    while len(chain) > 1 and not _order_kept(model, chain):
        chain.pop()
    if len(chain) < 2:
        return False
    shape = model.get_tensor_shape(chain[-1].output[0])
    target = new_constant(model, np.array(shape, np.int64))
    insert_before(model, node, "Reshape", (node.input[0], target), (chain[-1].output[0],))
    for each in chain:
        model.graph.node.remove(each)
    return True


def _chain(model: ModelWrapper, node: NodeProto) -> list[NodeProto]:
    """The node and the data movement after it, each node read by the next alone."""
    chain: list[NodeProto] = []
    following: NodeProto | None = node
    while following is not None and following.op_type in (*_RESHAPES, "Transpose"):
        chain.append(following)
        following = only_consumer(model, following.output[0])
    return chain


def _order_kept(model: ModelWrapper, chain: list[NodeProto]) -> bool:
    """Whether the chain keeps the order of values in memory."""
    shape = model.get_tensor_shape(chain[0].input[0])
    values = np.arange(prod(shape)).reshape(shape)
    for node in chain:
        if node.op_type == "Transpose":
            permutation = get_by_name(node.attribute, "perm")
            values = values.transpose(None if permutation is None else list(permutation.ints))
        values = values.reshape(model.get_tensor_shape(node.output[0]))
    return bool((np.diff(values.ravel()) == 1).all())
