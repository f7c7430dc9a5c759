"""Channels that come in another order, taken along to the layers that read them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from brevitas_defakeq.export.finn.graph_editor import Graph, attribute
from brevitas_defakeq.export.finn.weight_quantizers import weight_quantizer

#: Operators that treat every number by itself.
_ELEMENTWISE = frozenset({"Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "Elu", "Selu",
                          "Softplus", "Gelu", "Identity", "Quant", "MultiThreshold"})  # fmt: skip
#: ... and every channel.
_CHANNELWISE = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool"})
_AFFINE = frozenset({"Add", "Sub", "Mul", "Div"})


@dataclass(frozen=True)
class Sorted:
    """A value that holds the channels of ``name``, along ``axis``, in another order."""

    name: str
    axis: int
    order: np.ndarray


def sink_order(graph: Graph, name: str, order: np.ndarray) -> dict[str, Sorted] | None:
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
        for reader in graph.readers(value):
            step = _step(graph, reader, value, order, axes[value])
            if step is None:
                return None
            change, goes_on = step
            changes.extend(change)
            if goes_on is not None and reader.output[0] not in axes:
                axes[reader.output[0]] = goes_on
                waiting.append(reader.output[0])
    for change in changes:
        change()
    names = {old: graph.fresh(f"{old}.sorted", graph.shapes[old]) for old in axes}
    graph.rename(names)
    return {new: Sorted(old, axes[old], order) for old, new in names.items()}


def _step(graph, reader: NodeProto, value: str, order, axis: int):
    """What has to change at one reader, and the axis on which its result is moved (None: it is not)."""
    rank = len(graph.shapes[value])
    if reader.op_type in _ELEMENTWISE:
        return ([], axis) if _same_for_all_channels(graph, reader) else None
    if reader.op_type in _CHANNELWISE:
        return [], axis
    if reader.op_type in ("Flatten", "Reshape") and axis == 1:
        before, after = graph.shapes[value], graph.shapes[reader.output[0]]
        only_channels = before[1] == np.prod(before) == np.prod(after) and after[:2] == before[:2]
        return ([], 1) if only_channels else None
    if reader.op_type in _AFFINE:
        return _affine_step(graph, reader, order, rank, axis)
    return _layer_step(graph, reader, value, order, axis, rank)


def _same_for_all_channels(graph: Graph, reader: NodeProto) -> bool:
    if reader.op_type == "MultiThreshold":
        return graph.constants[reader.input[1]].shape[0] == 1
    return all(graph.constants[name].size == 1 for name in reader.input[1:] if graph.is_constant(name))


def _affine_step(graph: Graph, reader: NodeProto, order, rank: int, axis: int):
    places = [place for place, name in enumerate(reader.input) if graph.is_constant(name)]
    if len(places) != 1:
        return None
    values = graph.constants[reader.input[places[0]]]
    along = axis - (rank - values.ndim)
    if along < 0 or values.shape[along] == 1:
        return [], axis

    def change() -> None:
        reader.input[places[0]] = graph.constant(np.take(values, order, axis=along), f"{reader.name}.sorted")

    return [change], axis


def _layer_step(graph: Graph, reader: NodeProto, value: str, order, axis: int, rank: int):
    """A layer that reads the channels has its weights sorted; a depthwise one its channels too."""
    quant = weight_quantizer(graph, reader)
    if quant is None or reader.input[0] != value:
        return None
    if reader.op_type == "Conv":
        depthwise = attribute(reader, "group", 1) != 1
        if not depthwise:
            return [lambda: _sort_(graph, quant, order, 1)], None
        changes = [lambda: _sort_(graph, quant, order, 0)]
        if len(reader.input) > 2:
            changes.append(lambda: _sort_input_(graph, reader, 2, order))
        return changes, axis
    if axis != rank - 1:
        return None
    along = 1 if reader.op_type == "Gemm" and attribute(reader, "transB", 0) else 0
    return [lambda: _sort_(graph, quant, order, along)], None


def _sort_(graph: Graph, quant: NodeProto, order: np.ndarray, axis: int) -> None:
    """Sort the weights of a layer, and what of its grid differs along that axis."""
    for place in range(4):
        values = graph.constants[quant.input[place]]
        if values.ndim > axis and values.shape[axis] == len(order):
            sorted_values = np.take(values, order, axis=axis)
            quant.input[place] = graph.constant(sorted_values, f"{quant.name}.sorted")


def _sort_input_(graph: Graph, layer: NodeProto, place: int, order: np.ndarray) -> None:
    layer.input[place] = graph.constant(graph.constants[layer.input[place]][order], f"{layer.name}.sorted")
