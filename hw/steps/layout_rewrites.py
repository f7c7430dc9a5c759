"""Channels last: transposes moved past sums, concatenations and max pooling.

FINN's passes for this leave tensors without shapes, or rewire the wrong reader, where a branch is read
elsewhere too, as in dense blocks and behind a pooling.
"""

import numpy as np
from onnx import NodeProto
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.util.basic import get_by_name

from hw.steps.graph_edits import insert_before, new_tensor

#: Domain of qonnx's own operators.
_QONNX_DOMAIN = "qonnx.custom_op.general"


def move_transpose_past_join(model: ModelWrapper, node: NodeProto) -> bool:
    """transpose(x) + transpose(y) becomes transpose(x + y), and a concatenation one along another axis."""
    if node.op_type not in ("Add", "Sub", "Concat"):
        return False
    producers = [model.find_producer(name) for name in node.input]
    if any(producer is None or producer.op_type != "Transpose" for producer in producers):
        return False
    orders = {tuple(get_by_name(producer.attribute, "perm").ints) for producer in producers}
    if len(orders) != 1:
        return False
    (order,) = orders
    axes = (
        {"axis": order[get_by_name(node.attribute, "axis").i % len(order)]}
        if node.op_type == "Concat"
        else {}
    )
    shape, kind = model.get_tensor_shape(node.output[0]), model.get_tensor_datatype(node.output[0])
    joined = new_tensor(model, [shape[index] for index in np.argsort(order)], kind)
    sources = [producer.input[0] for producer in producers]
    insert_before(model, node, node.op_type, sources, (joined,), **axes)
    insert_before(model, node, "Transpose", (joined,), (node.output[0],), perm=list(order))
    model.graph.node.remove(node)
    for producer in {id(each): each for each in producers}.values():
        if not model.find_consumers(producer.output[0]):
            model.graph.node.remove(producer)
    return True


def move_transpose_past_split(model: ModelWrapper, node: NodeProto) -> bool:
    """Split(transpose(x)) becomes a Split of x, and a transpose of each part."""
    producer = model.find_producer(node.input[0]) if node.op_type == "Split" else None
    if producer is None or producer.op_type != "Transpose":
        return False
    order = list(get_by_name(producer.attribute, "perm").ints)
    kind, axis = model.get_tensor_datatype(node.input[0]), get_by_name(node.attribute, "axis")
    parts = []
    for name in node.output:
        shape = model.get_tensor_shape(name)
        parts.append(new_tensor(model, [shape[index] for index in np.argsort(order)], kind))
    inputs = (producer.input[0], *node.input[1:])
    insert_before(model, node, "Split", inputs, parts, axis=order[axis.i % len(order)])
    for part, name in zip(parts, node.output, strict=True):
        insert_before(model, node, "Transpose", (part,), (name,), perm=order)
    model.graph.node.remove(node)
    if not model.find_consumers(producer.output[0]):
        model.graph.node.remove(producer)
    return True


def pool_channels_last(model: ModelWrapper, node: NodeProto) -> bool:
    """MaxPool(x) becomes transpose(MaxPoolNHWC(transpose(x)))."""
    if node.op_type != "MaxPool":
        return False
    names = {each.name: each for each in node.attribute}
    options = {name: list(names[name].ints) for name in ("kernel_shape", "strides", "pads") if name in names}
    (_, channels, *before), (_, _, *after) = map(model.get_tensor_shape, (node.input[0], node.output[0]))
    kind = model.get_tensor_datatype(node.input[0])
    given, pooled = (new_tensor(model, [1, *sides, channels], kind) for sides in (before, after))
    insert_before(model, node, "Transpose", (node.input[0],), (given,), perm=[0, 2, 3, 1])
    insert_before(
        model, node, "MaxPoolNHWC", (given,), (pooled,), domain=_QONNX_DOMAIN, ceil_mode=0, **options
    )  # fmt: skip
    insert_before(model, node, "Transpose", (pooled,), (node.output[0],), perm=[0, 3, 1, 2])
    model.graph.node.remove(node)
    return True
