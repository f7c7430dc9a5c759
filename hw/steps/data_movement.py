"""Chains of layers that move values about without computing: what they come to in the end."""

from math import prod

import numpy as np
from onnx import NodeProto
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.util.basic import get_by_name

from hw.steps.graph_edits import insert_before, new_constant, only_consumer

#: Layers that change a tensor's shape, and not the order of its values in memory.
_RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


def fuse_data_movement(model: ModelWrapper, node: NodeProto) -> bool:
    """A chain with a Transpose that leaves all values in their order is one Reshape: patches to tokens, say.

    So is a chain of reshapes.
    """
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
    """The node and the movers behind it, each read by the next alone."""
    chain: list[NodeProto] = []
    while node is not None and node.op_type in (*_RESHAPES, "Transpose"):
        chain.append(node)
        node = only_consumer(model, node.output[0])
    return chain


def _order_kept(model: ModelWrapper, chain: list[NodeProto]) -> bool:
    """Whether numbered values leave the chain in their order."""
    shape = model.get_tensor_shape(chain[0].input[0])
    values = np.arange(prod(shape)).reshape(shape)
    for node in chain:
        if node.op_type == "Transpose":
            permutation = get_by_name(node.attribute, "perm")
            values = values.transpose(None if permutation is None else list(permutation.ints))
        values = values.reshape(model.get_tensor_shape(node.output[0]))
    return bool((np.diff(values.ravel()) == 1).all())
