"""Rewrites of thresholds: hoisting past data movement, and integer offsets before scales."""

import numpy as np
from onnx import NodeProto
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from hw.finn_quirks import channels_layout
from hw.steps.class_token import INTEGER_TOLERANCE
from hw.steps.graph_edits import constant_input, index_of, new_constant, new_tensor, only_consumer

_DATA_MOVEMENT = ("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze")


def hoist_thresholds(model: ModelWrapper, node: NodeProto) -> bool:
    """Move thresholds that all channels share before data movement and Concat, which then work on integers.

    Constants that are concatenated, such as a class token, become the integers that thresholds make of them.
    """
    if node.op_type != "MultiThreshold" or model.get_initializer(node.input[1]).shape[0] != 1:
        return False
    movement = model.find_producer(node.input[0])
    if movement is None or only_consumer(model, movement.output[0]) is None:
        return False
    if movement.op_type in _DATA_MOVEMENT:
        _swap(model, movement, node, (0,))
        return True
    if movement.op_type == "Concat":
        _swap(model, movement, node, range(len(movement.input)))
        return True
    return False


def move_integer_offset_before_scale(model: ModelWrapper, node: NodeProto) -> bool:
    """x * s + c before thresholds becomes (x + c / s) * s where c / s is an integer: a sum of integers.

    Position embeddings that share the scale of the tokens have this form.
    """
    scale = constant_input(model, node)
    if node.op_type != "Mul" or scale is None or scale.size != 1:
        return False
    addition = only_consumer(model, node.output[0])
    if addition is None or addition.op_type != "Add":
        return False
    offset, consumer = constant_input(model, addition), only_consumer(model, addition.output[0])
    if offset is None or consumer is None or consumer.op_type != "MultiThreshold":
        return False
    exact = offset.astype(np.float64) / np.float64(scale.item())
    if np.abs(exact - np.round(exact)).max() > INTEGER_TOLERANCE:
        return False
    steps = np.round(exact).astype(np.float32)
    integers = new_constant(model, steps)
    model.set_tensor_datatype(integers, DataType[f"INT{int(np.abs(steps).max()).bit_length() + 1}"])
    node.input[1], addition.input[1] = integers, node.input[1]
    node.op_type, addition.op_type = "Add", "Mul"
    return True


def _swap(model: ModelWrapper, movement: NodeProto, node: NodeProto, moved: range | tuple[int, ...]) -> None:
    """Swap ``movement`` and the thresholds ``node`` after it; every dynamic input gets its own thresholds."""
    kind = DataType[getCustomOp(node).get_nodeattr("out_dtype")]
    index = index_of(model, movement)
    for position in moved:
        source = movement.input[position]
        constant = model.get_initializer(source)
        if constant is not None:
            movement.input[position] = new_constant(model, _apply_thresholds(model, node, constant))
            model.set_tensor_datatype(movement.input[position], kind)
            continue
        copy = NodeProto()
        copy.CopyFrom(node)
        layout = channels_layout(model, source)
        copy.input[0], copy.output[0] = source, new_tensor(model, model.get_tensor_shape(source), kind)
        getCustomOp(copy).set_nodeattr("data_layout", layout)
        movement.input[position] = copy.output[0]
        model.graph.node.insert(index, copy)
    movement.output[0] = node.output[0]
    model.set_tensor_datatype(node.output[0], kind)
    model.graph.node.remove(node)


def _apply_thresholds(model: ModelWrapper, node: NodeProto, values: np.ndarray) -> np.ndarray:
    """The output of thresholds for constant values."""
    layer, levels = getCustomOp(node), model.get_initializer(node.input[1]).ravel()
    counts = (values[..., None] >= levels).sum(-1)
    scale, offset = layer.get_nodeattr("out_scale"), layer.get_nodeattr("out_bias")
    return (scale * counts + offset).astype(np.float32)
