"""Nodes that move values: the axis of the batch takes any length."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from brevitas_defakeq.detectors.onnx_graph.converter import Node, Value
from brevitas_defakeq.detectors.onnx_graph.dropped_batch import drop_batch


def reshape(node: Node) -> None:
    x = node.data(0)
    target = [int(size) for size in node.array(1)]
    if not node.attribute("allowzero", 0):
        target = [x.shape[axis] if size == 0 else size for axis, size in enumerate(target)]
    _reshaped(node, x, target)


def flatten(node: Node) -> None:
    x = node.data(0)
    axis = node.axis(node.attribute("axis", 1))
    _reshaped(node, x, [math.prod(x.shape[:axis]), math.prod(x.shape[axis:])])


def _reshaped(node: Node, x: Value, target: list[int]) -> None:
    """The batch stays where as many numbers lie before it as before."""
    if -1 in target:
        known = math.prod(size for size in target if size != -1)
        target[target.index(-1)] = math.prod(x.shape) // max(known, 1)
    batch = x.batch_axis
    if batch is not None:
        before = math.prod(x.shape[:batch])
        axes = [axis for axis in range(len(target)) if math.prod(target[:axis]) == before]
        if not axes:
            node.refuse("it joins the images of a batch with another axis")
        target[axes[0]] = -1
    node.function("reshape", [x], shape=target)


def transpose(node: Node) -> None:
    x = node.data(0)
    axes = list(node.attribute("perm", range(len(x.shape))[::-1]))
    maker = node.graph.makers.get(x.name)
    if maker is not None and maker.options.get("function") == "permute":
        first = maker.options["attributes"]["axes"]
        axes, source = [first[axis] for axis in axes], maker.values[0]
        x = node.graph.values[source]
        node.graph.readers[source] += 1
    if axes == sorted(axes):
        node.alias(x)
    else:
        node.function("permute", [x], axes=axes)


def squeeze(node: Node) -> None:
    """Without axes, every axis of length one; in a file for one image that is the axis of the batch too."""
    x, axes = node.data(0), node.integers("axes", 1)
    fixed = node.graph.fixed
    if axes is None:
        axes = [axis for axis, size in enumerate(x.shape) if size == 1 and (fixed or axis != x.batch_axis)]
    axes = [node.axis(axis) for axis in axes]
    others = [axis for axis in axes if axis != x.batch_axis]
    if len(others) == len(axes):
        node.function("squeeze", [x], axes=axes)
    elif fixed:
        drop_batch(
            node, node.function("squeeze", [x], node.temporary("squeezed"), axes=others) if others else x
        )
    else:
        node.refuse("it removes the axis of the batch")


def unsqueeze(node: Node) -> None:
    axes = node.integers("axes", 1)
    rank = len(node.data(0).shape) + len(axes)
    node.function("unsqueeze", [node.data(0)], axes=[node.axis(axis, rank) for axis in axes])


def expand(node: Node) -> None:
    x, wanted = node.data(0), [int(size) for size in node.array(1)]
    rank = max(len(x.shape), len(wanted))
    own, wanted = [1] * (rank - len(x.shape)) + list(x.shape), [1] * (rank - len(wanted)) + wanted
    shape = [-1 if size in (1, mine) else size for mine, size in zip(own, wanted, strict=True)]
    shape[: rank - len(x.shape)] = wanted[: rank - len(x.shape)]
    if all(size == -1 for size in shape):
        node.alias(x)
    else:
        node.function("expand", [x], shape=shape)


def tile(node: Node) -> None:
    repeats = [int(count) for count in node.array(1)]
    if all(count == 1 for count in repeats):
        node.alias(node.data(0))
    else:
        node.function("tile", [node.data(0)], repeats=repeats)


def concat(node: Node) -> None:
    values = [value for value in node.inputs if value is not None]
    join(node, values, node.axis(node.attribute("axis", 0), len(values[0].shape)))


def join(node: Node, values: list[Value], axis: int) -> None:
    """The node makes the values one behind the other."""
    batch_axes = [value.batch_axis for value in values]
    repeated = [position for position, batch in enumerate(batch_axes) if batch is None]
    if axis in batch_axes or (repeated and {*batch_axes} != {None, 0}):
        node.refuse("it joins the images of a batch with other values")
    more: dict[str, Any] = {"repeated": repeated, "like": batch_axes.index(0)} if repeated else {}
    node.function("concat", [*values], axis=axis, **more)


def split(node: Node) -> None:
    x = node.data(0)
    axis = node.axis(node.attribute("axis", 0))
    sizes = node.integers("split", 1)
    if sizes is None:
        count = len(node.outputs)
        each = -(-x.shape[axis] // count)
        sizes = [each] * (count - 1) + [x.shape[axis] - each * (count - 1)]
    outputs = [name or node.temporary(f"unused{index}")[0] for index, name in enumerate(node.outputs)]
    if len(outputs) == 1:
        node.alias(x)
        return
    node.function("split", [x], outputs, sizes=sizes, axis=axis)


def slices(node: Node) -> None:
    x = node.data(0)
    starts, stops = node.integers("starts", 1), node.integers("", 2)
    axes = [node.axis(axis) for axis in node.integers("axes", 3, list(range(len(starts))))]
    steps = node.integers("steps", 4, [1] * len(starts))
    kept = [
        (axis, *slice(start, end if end >= 0 or step > 0 or end >= -x.shape[axis] else None, step).indices(
            x.shape[axis]), step) for axis, start, end, step in zip(axes, starts, stops, steps, strict=True)
    ]  # fmt: skip
    kept = [item for item in kept if item[1:4] != (0, x.shape[item[0]], 1)]
    if any(item[0] == x.batch_axis for item in kept):
        node.refuse("it cuts the axis of the batch")
    if not kept:
        node.alias(x)
        return
    if any(item[3] < 0 for item in kept):
        _taken(node, x, kept)
        return
    axes, starts, stops, steps = ([item[index] for item in kept] for index in range(4))
    node.function("slice", [x], axes=axes, starts=starts, stops=stops, steps=steps)


def _taken(node: Node, x: Value, kept: Sequence[tuple[int, ...]]) -> None:
    """Slices with a negative step, by index."""
    for position, (axis, start, end, step, *_) in enumerate(kept):
        index = Value("index", np.arange(start, end, step, dtype=np.int64))
        last = position == len(kept) - 1
        x = node.function("take", [x, index], None if last else node.temporary(f"axis{axis}"), axis=axis)


def gather(node: Node) -> None:
    x, index = node.data(0), node.data(1)
    axis = node.axis(node.attribute("axis", 0))
    if index.constant is None:
        node.function("take", [x, index], axis=axis)
        return
    if axis == x.batch_axis and len(x.shape) == 1 and index.shape[:1] == (1,):
        _gather_flat(node, x, index.constant)
        return
    if axis == x.batch_axis and node.graph.fixed and index.shape == ():
        drop_batch(node, x)
        return
    if axis == x.batch_axis:
        node.refuse("it takes one image of the batch")
    positions = np.where(index.constant < 0, index.constant + x.shape[axis], index.constant)
    if positions.ndim == 0:
        node.function("select", [x], axis=axis, index=int(positions))
    else:
        node.function("take", [x, Value(index.name, positions.astype(np.int64))], axis=axis)


def _gather_flat(node: Node, x: Value, index: np.ndarray) -> None:
    """All numbers of a batch by index, as torch's exporter writes ``as_strided``: the same in each image."""
    x = node.function("reshape", [x], node.temporary("images"), shape=[-1, x.shape[0]])
    positions = index.reshape(-1).astype(np.int64)
    if not np.array_equal(positions, np.arange(x.shape[1])):
        x = node.function("take", [x, Value("index", positions)], node.temporary("taken"), axis=1)
    node.function("reshape", [x], shape=[-1, *index.shape[1:]])


def gather_elements(node: Node) -> None:
    axis = node.axis(node.attribute("axis", 0))
    node.function("gather_elements", [node.data(0), node.data(1)], axis=axis)


def pad(node: Node) -> None:
    x, pads = node.data(0), node.integers("pads", 1)
    rank, mode = len(x.shape), node.attribute("mode", "constant")
    if node.has(3):
        axes = [node.axis(int(axis)) for axis in node.array(3)]
        full = [0] * 2 * rank
        for position, axis in enumerate(axes):
            full[axis], full[rank + axis] = pads[position], pads[len(axes) + position]
        pads = full
    if not any(pads):
        node.alias(x)
        return
    modes = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}
    value = node.array(2)
    value = float(node.attribute("value", 0.0)) if value is None else float(np.reshape(value, -1)[0])
    sides = [side for axis in range(rank)[::-1] for side in (pads[axis], pads[rank + axis])]
    while not any(sides[-2:]):
        sides = sides[:-2]
    node.function("pad", [x], pads=sides, mode=modes[mode], value=value)


def depth_to_space(node: Node) -> None:
    size, mode = int(node.attribute("blocksize", 1)), node.attribute("mode", "DCR")
    node.function("depth_to_space", [node.data(0)], size=size, mode=mode)


def space_to_depth(node: Node) -> None:
    node.function("space_to_depth", [node.data(0)], size=int(node.attribute("blocksize", 1)))
