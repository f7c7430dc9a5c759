"""Nodes with sequences of values, as torch's older exporter writes splits, chunks and stacks."""

from typing import Any

import numpy as np

from brevitas_defakeq.detectors.onnx_graph.converter import Handler, Node, Value
from brevitas_defakeq.detectors.onnx_graph.node_shapes import join


def _made(node: Node, items: list[Value]) -> None:
    node.graph.values[node.outputs[0]] = Value(node.outputs[0], items=tuple(items))


def _items(node: Node, position: int = 0) -> list[Value]:
    items = node.data(position).items
    if items is None:
        node.refuse("it reads no sequence")
    return [*items]


def _position(node: Node, position: int, default: int) -> int:
    found = node.array(position)
    return default if found is None else int(np.reshape(found, -1)[0])


def construct(node: Node) -> None:
    _made(node, [node.data(position) for position in range(len(node.inputs))])


def insert(node: Node) -> None:
    items = _items(node)
    place = _position(node, 2, len(items))
    items.insert(place, node.data(1))
    _made(node, items)


def erase(node: Node) -> None:
    items = _items(node)
    del items[_position(node, 1, -1)]
    _made(node, items)


def item(node: Node) -> None:
    value = _items(node)[_position(node, 1, 0)]
    node.graph.readers[value.name] += 1  # besides the sequence
    node.alias(value)


def length(node: Node) -> None:
    node.graph.values[node.outputs[0]] = Value(node.outputs[0], np.array(len(_items(node)), np.int64))


def split(node: Node) -> None:
    x, axis = node.data(0), node.axis(node.attribute("axis", 0))
    given, side = node.array(1), x.shape[axis]
    if axis == x.batch_axis:
        node.refuse("it takes the images of a batch apart")
    if given is not None and np.ndim(given):
        sizes = [int(size) for size in given]
    else:
        each = 1 if given is None else int(given)
        sizes = [min(each, side - start) for start in range(0, side, each)]
    names = [node.temporary(f"part{index}")[0] for index in range(len(sizes))]
    if x.constant is not None:
        parts = np.split(x.constant, np.cumsum(sizes)[:-1], axis)
        items = [Value(name, part) for name, part in zip(names, parts, strict=True)]
    else:
        options: dict[str, Any] = {"function": "split", "attributes": {"sizes": sizes, "axis": axis}}
        items = node.graph.emit(node, "function", [x], options, outputs=names)
    if given is None and not node.attribute("keepdims", 1):
        items = [_without(node, part, axis) for part in items]
    _made(node, items)


def _without(node: Node, part: Value, axis: int) -> Value:
    if part.constant is not None:
        return Value(part.name, part.constant.squeeze(axis))
    return node.function("squeeze", [part], [f"{part.name}.single"], axes=[axis])


def concatenate(node: Node) -> None:
    values, new = _items(node), bool(node.attribute("new_axis", 0))
    axis = node.axis(node.attribute("axis", 0), len(values[0].shape) + new)
    if new:
        values = [_with_axis(node, value, axis, index) for index, value in enumerate(values)]
    join(node, values, axis)


def _with_axis(node: Node, value: Value, axis: int, index: int) -> Value:
    if value.constant is not None:
        return Value(value.name, np.expand_dims(value.constant, axis))
    return node.function("unsqueeze", [value], node.temporary(f"stacked{index}"), axes=[axis])


SEQUENCES: dict[str, Handler] = {
    "SequenceConstruct": construct,
    "SequenceEmpty": construct,
    "SequenceInsert": insert,
    "SequenceErase": erase,
    "SequenceAt": item,
    "SequenceLength": length,
    "SplitToSequence": split,
    "ConcatFromSequence": concatenate,
}
