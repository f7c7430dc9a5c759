"""Flattened maps: the reshape before a product disappears, since both read the same stream of values."""

import numpy as np
from onnx import NodeProto
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.util.basic import get_by_name

from hw.finn_quirks import FINN_DOMAIN
from hw.steps.graph_edits import index_of, new_tensor, only_consumer

#: Operators on single channels: a pooled map [1, 1, 1, C] is to them what its channels [1, C] are.
_CHANNELWISE = ("Mul", "Add", "MultiThreshold", "LayerNormalization", "Gelu")
_TO_CHANNELS_FIRST = [0, 3, 1, 2]


def move_flatten_down(model: ModelWrapper, node: NodeProto) -> bool:
    """f(flatten(x)) becomes flatten(f(x)) for a pooled map x, up to the product that reads it."""
    if node.op_type not in ("Reshape", "Flatten"):
        return False
    pooled, flat = model.get_tensor_shape(node.input[0]), model.get_tensor_shape(node.output[0])
    following = only_consumer(model, node.output[0])
    if len(pooled) != 4 or len(flat) != 2 or pooled[-1] != flat[-1] or following is None:
        return False
    if following.op_type not in _CHANNELWISE or not _is_channelwise(model, following, node.output[0]):
        return False
    source, between, result = node.input[0], new_tensor(model, pooled), following.output[0]
    for each, read, written in ((following, source, between), (node, between, result)):
        each.input[0], each.output[0] = read, written
    if following.op_type == "MultiThreshold":
        getCustomOp(following).set_nodeattr("data_layout", "NHWC")
    model.set_tensor_datatype(between, model.get_tensor_datatype(result))
    model.graph.node.remove(node)
    model.graph.node.insert(index_of(model, following) + 1, node)
    return True


def _is_channelwise(model: ModelWrapper, node: NodeProto, source: str) -> bool:
    """Whether the node reads the value first, and besides it constants of at most one axis."""
    constants = [model.get_initializer(name) for name in node.input[1:]]
    plain = node.op_type == "MultiThreshold" or all(each is not None and each.ndim <= 1 for each in constants)
    return node.input[0] == source and plain


def absorb_flatten(model: ModelWrapper, node: NodeProto) -> bool:
    """Remove a flatten between a hardware layer and a product; a transpose before it goes into the weights.

    FINN's ``RemoveCNVtoFCFlatten`` also removes those that other layers need.
    """
    if node.op_type not in ("Flatten", "Reshape") or len(model.get_tensor_shape(node.output[0])) != 2:
        return False
    product = only_consumer(model, node.output[0])
    if product is None or product.op_type != "MVAU" or product.input[0] != node.output[0]:
        return False
    above = model.find_producer(node.input[0])
    if above is None or (above.op_type != "Transpose" and above.domain != FINN_DOMAIN):
        return False
    if above.op_type == "Transpose":
        if not _absorb_transpose(model, above, product):
            return False
    else:
        product.input[0] = node.input[0]
    model.graph.node.remove(node)
    return True


def _absorb_transpose(model: ModelWrapper, transpose: NodeProto, product: NodeProto) -> bool:
    """Let the product read a map channels last, with its weights' rows in that order."""
    weights, source = model.get_initializer(product.input[1]), model.find_producer(transpose.input[0])
    order = list(get_by_name(transpose.attribute, "perm").ints)
    alone = only_consumer(model, transpose.output[0]) is not None
    if (
        order != _TO_CHANNELS_FIRST
        or weights is None
        or source is None
        or source.domain != FINN_DOMAIN
        or not alone
    ):
        return False
    _, height, width, channels = model.get_tensor_shape(transpose.input[0])
    rows = weights.reshape(channels, height, width, -1).transpose(1, 2, 0, 3)
    model.set_initializer(product.input[1], np.ascontiguousarray(rows.reshape(weights.shape)))
    product.input[0] = transpose.input[0]
    model.graph.node.remove(transpose)
    return True
