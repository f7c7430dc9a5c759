"""Channels that come in another order, taken along to the layers that read them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from brevitas_defakeq.export.finn.graph_editor import GraphEditor, get_attribute
from brevitas_defakeq.export.finn.weight_quantizers import weight_quantizer

#: Operators that treat every number by itself.
_ELEMENTWISE = frozenset({"Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "Elu", "Selu",
                          "Softplus", "Gelu", "Identity", "Quant", "MultiThreshold"})  # fmt: skip
#: ... and every channel.
_CHANNELWISE = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool"})
_AFFINE = frozenset({"Add", "Sub", "Mul", "Div"})


@dataclass(frozen=True)
class PermutedValue:
    """A value that holds the channels of ``name``, along ``axis``, in another order."""

    name: str
    axis: int
    order: np.ndarray


def push_permutation(graph: GraphEditor, name: str, order: np.ndarray) -> dict[str, PermutedValue] | None:
    """Make everything behind ``name`` expect its channels in ``order``; None, and no change, where it cannot.

    Args:
        order: place -> which channel will stand there.

    Returns:
        the values whose channels were moved, by their new names.
    """
    changes: list[Callable[[], None]] = []
    axes = {name: 1 if len(graph.shapes[name]) == 4 else len(graph.shapes[name]) - 1}
    waiting, handed_out = [name], {value.name for value in graph.model.graph.output}
    while waiting:
        value = waiting.pop()
        if value in handed_out:
            return None
        for consumer in graph.consumers(value):
            step = _step(graph, consumer, value, order, axes[value])
            if step is None:
                return None
            change, goes_on = step
            changes.extend(change)
            if goes_on is not None and consumer.output[0] not in axes:
                axes[consumer.output[0]] = goes_on
                waiting.append(consumer.output[0])
    for change in changes:
        change()
    names = {old: graph.new_name(f"{old}.sorted", graph.shapes[old]) for old in axes}
    graph.rename(names)
    return {new: PermutedValue(old, axes[old], order) for old, new in names.items()}


def _step(graph, consumer: NodeProto, value: str, order, axis: int):
    """What has to change at one reader, and the axis on which its result is moved (None: it is not)."""
    rank = len(graph.shapes[value])
    if consumer.op_type in _ELEMENTWISE:
        return ([], axis) if _same_for_all_channels(graph, consumer) else None
    if consumer.op_type in _CHANNELWISE:
        return [], axis
    if consumer.op_type in ("Flatten", "Reshape") and axis == 1:
        before, after = graph.shapes[value], graph.shapes[consumer.output[0]]
        only_channels = before[1] == np.prod(before) == np.prod(after) and after[:2] == before[:2]
        return ([], 1) if only_channels else None
    if consumer.op_type in _AFFINE:
        return _affine_step(graph, consumer, order, rank, axis)
    return _layer_step(graph, consumer, value, order, axis, rank)


def _same_for_all_channels(graph: GraphEditor, consumer: NodeProto) -> bool:
    if consumer.op_type == "MultiThreshold":
        return graph.constants[consumer.input[1]].shape[0] == 1
    return all(graph.constants[name].size == 1 for name in consumer.input[1:] if graph.is_constant(name))


def _affine_step(graph: GraphEditor, consumer: NodeProto, order, rank: int, axis: int):
    places = [place for place, name in enumerate(consumer.input) if graph.is_constant(name)]
    if len(places) != 1:
        return None
    values = graph.constants[consumer.input[places[0]]]
    along = axis - (rank - values.ndim)
    if along < 0 or values.shape[along] == 1:
        return [], axis

    def change() -> None:
        consumer.input[places[0]] = graph.add_constant(
            np.take(values, order, axis=along), f"{consumer.name}.sorted"
        )

    return [change], axis


def _layer_step(graph: GraphEditor, consumer: NodeProto, value: str, order, axis: int, rank: int):
    """A layer that reads the channels has its weights sorted; a depthwise one its channels too."""
    quant = weight_quantizer(graph, consumer)
    if quant is None or consumer.input[0] != value:
        return None
    if consumer.op_type == "Conv":
        depthwise = get_attribute(consumer, "group", 1) != 1
        if not depthwise:
            return [lambda: _sort_(graph, quant, order, 1)], None
        changes = [lambda: _sort_(graph, quant, order, 0)]
        if len(consumer.input) > 2:
            changes.append(lambda: _sort_input_(graph, consumer, 2, order))
        return changes, axis
    if axis != rank - 1:
        return None
    along = 1 if consumer.op_type == "Gemm" and get_attribute(consumer, "transB", 0) else 0
    return [lambda: _sort_(graph, quant, order, along)], None


def _sort_(graph: GraphEditor, quant: NodeProto, order: np.ndarray, axis: int) -> None:
    """Sort the weights of a layer, and what of its grid differs along that axis."""
    for place in range(4):
        values = graph.constants[quant.input[place]]
        if values.ndim > axis and values.shape[axis] == len(order):
            sorted_values = np.take(values, order, axis=axis)
            quant.input[place] = graph.add_constant(sorted_values, f"{quant.name}.sorted")


def _sort_input_(graph: GraphEditor, layer: NodeProto, place: int, order: np.ndarray) -> None:
    layer.input[place] = graph.add_constant(
        graph.constants[layer.input[place]][order], f"{layer.name}.sorted"
    )
