"""Concatenation of a class token: in hardware it is integers of the patches' data type."""

import numpy as np
from onnx import NodeProto
from qonnx.core.datatype import BaseDataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.util.basic import get_by_name

from hw.steps.graph_edits import constant_input, insert_before, new_constant, new_tensor, only_consumer

#: A quotient of float32 numbers within this distance of an integer counts as that integer.
INTEGER_TOLERANCE = 1e-3


def move_scale_past_token(model: ModelWrapper, node: NodeProto) -> bool:
    """Concat(token, x * s) becomes Concat(token / s, x) * s where token / s are integers of x's type.

    Otherwise, if positions are added afterwards, the token is added to them and replaced by 0.
    """
    if node.op_type != "Concat":
        return False
    moving = [name for name in node.input if model.get_initializer(name) is None]
    scaled = model.find_producer(moving[0]) if len(moving) == 1 else None
    if scaled is None or scaled.op_type != "Mul" or only_consumer(model, moving[0]) is None:
        return False
    scale, kind = constant_input(model, scaled), model.get_tensor_datatype(scaled.input[0])
    if scale is None or scale.size != 1 or not kind.is_integer():
        return False
    if not _tokens_whole(model, node, scale.item(), kind) and not _add_with_positions(model, node):
        return False
    total = new_tensor(model, model.get_tensor_shape(node.output[0]), kind)
    for index, name in enumerate(node.input):
        token = model.get_initializer(name)
        node.input[index] = (
            scaled.input[0] if token is None
            else _annotated(model, np.round(token / scale).astype(np.float32), kind)
        )  # fmt: skip
    consumers = model.find_consumers(node.output[0])
    insert_before(model, consumers[0], "Mul", (total, scaled.input[1]), (node.output[0],))
    node.output[0] = total
    model.graph.node.remove(scaled)
    return True


def _tokens_whole(model: ModelWrapper, node: NodeProto, scale: float, kind: BaseDataType) -> bool:
    for name in node.input:
        token = model.get_initializer(name)
        if token is None:
            continue
        exact = token.astype(np.float64) / scale
        if (
            np.abs(exact - np.round(exact)).max() > INTEGER_TOLERANCE
            or not kind.allowed(np.round(exact)).all()
        ):
            return False
    return True


def _add_with_positions(model: ModelWrapper, node: NodeProto) -> bool:
    """Concat(token, x) + p becomes Concat(0, x) + (p + Concat(token, 0)); False without such an addition."""
    addition = only_consumer(model, node.output[0])
    if addition is None or addition.op_type != "Add":
        return False
    positions = constant_input(model, addition)
    if positions is None:
        return False
    axis = get_by_name(node.attribute, "axis").i
    parts = [model.get_initializer(name) for name in node.input]
    shapes = [model.get_tensor_shape(name) for name in node.input]
    filled = [
        np.zeros(shape, np.float32) if part is None else part
        for part, shape in zip(parts, shapes, strict=True)
    ]
    addition.input[1] = new_constant(model, positions + np.concatenate(filled, axis))
    for index, part in enumerate(parts):
        if part is not None:
            node.input[index] = new_constant(model, np.zeros_like(part))
    return True


def _annotated(model: ModelWrapper, values: np.ndarray, kind: BaseDataType) -> str:
    """A new constant with its data type."""
    name = new_constant(model, values)
    model.set_tensor_datatype(name, kind)
    return name
