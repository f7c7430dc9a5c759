"""Channel permutations pushed down to the layers that read the channels."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from brevitas_defakeq.export.finn.graph_editor import ARITHMETIC_OPS, GraphEditor, get_attribute
from brevitas_defakeq.export.finn.weight_quantizers import weight_quantizer

#: Operators that treat every value alike.
_ELEMENTWISE = frozenset({"Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "Elu", "Selu",
                          "Softplus", "Gelu", "Identity", "Quant", "MultiThreshold"})  # fmt: skip
#: Operators that treat every channel alike.
_CHANNELWISE = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool"})

#: Changes at one consumer, and the axis on which its result is permuted (None: it is not).
_Step = tuple[list[Callable[[], None]], int | None]


@dataclass(frozen=True)
class PermutedValue:
    """A value that holds the channels of another one in another order.

    Attributes:
        original: name of the other value.
        axis: the channel axis.
        permutation: int [C], position -> channel of ``original``.
    """

    original: str
    axis: int
    permutation: np.ndarray


def push_permutation(
    graph: GraphEditor, name: str, permutation: np.ndarray
) -> dict[str, PermutedValue] | None:
    """Let everything after a value expect its channels permuted.

    Args:
        name: the value.
        permutation: int [C], position -> channel that will be there.

    Returns:
        the permuted values by their new names; None, with the graph unchanged, where this is impossible.
    """
    changes: list[Callable[[], None]] = []
    axes = {name: 1 if len(graph.shapes[name]) == 4 else len(graph.shapes[name]) - 1}
    waiting, outputs = [name], {value.name for value in graph.model.graph.output}
    while waiting:
        value = waiting.pop()
        if value in outputs:
            return None
        for consumer in graph.consumers(value):
            step = _step(graph, consumer, value, permutation, axes[value])
            if step is None:
                return None
            new_changes, result_axis = step
            changes.extend(new_changes)
            if result_axis is not None and consumer.output[0] not in axes:
                axes[consumer.output[0]] = result_axis
                waiting.append(consumer.output[0])
    for change in changes:
        change()
    names = {old: graph.new_name(f"{old}.sorted", graph.shapes[old]) for old in axes}
    graph.rename(names)
    return {new: PermutedValue(old, axes[old], permutation) for old, new in names.items()}


def _step(
    graph: GraphEditor, consumer: NodeProto, value: str, permutation: np.ndarray, axis: int
) -> _Step | None:
    """What the permutation of ``value`` changes at one consumer; None where it cannot be permuted."""
    rank = len(graph.shapes[value])
    if consumer.op_type in _ELEMENTWISE:
        return ([], axis) if _same_for_all_channels(graph, consumer) else None
    if consumer.op_type in _CHANNELWISE:
        return [], axis
    if consumer.op_type in ("Flatten", "Reshape") and axis == 1:
        before, after = graph.shapes[value], graph.shapes[consumer.output[0]]
        only_channels = before[1] == np.prod(before) == np.prod(after) and after[:2] == before[:2]
        return ([], 1) if only_channels else None
    if consumer.op_type in ARITHMETIC_OPS:
        return _affine_step(graph, consumer, permutation, rank, axis)
    return _layer_step(graph, consumer, value, permutation, axis, rank)


def _same_for_all_channels(graph: GraphEditor, consumer: NodeProto) -> bool:
    if consumer.op_type == "MultiThreshold":
        return graph.constants[consumer.input[1]].shape[0] == 1
    return all(graph.constants[name].size == 1 for name in consumer.input[1:] if graph.is_constant(name))


def _affine_step(
    graph: GraphEditor, consumer: NodeProto, permutation: np.ndarray, rank: int, axis: int
) -> _Step | None:
    """Arithmetic with a constant: the constant is permuted if it differs between channels."""
    indices = [index for index, name in enumerate(consumer.input) if graph.is_constant(name)]
    if len(indices) != 1:
        return None
    values = graph.constants[consumer.input[indices[0]]]
    along = axis - (rank - values.ndim)
    if along < 0 or values.shape[along] == 1:
        return [], axis

    def change() -> None:
        permuted = np.take(values, permutation, axis=along)
        consumer.input[indices[0]] = graph.add_constant(permuted, f"{consumer.name}.sorted")

    return [change], axis


def _layer_step(
    graph: GraphEditor, consumer: NodeProto, value: str, permutation: np.ndarray, axis: int, rank: int
) -> _Step | None:
    """A layer that reads the channels: its weights are permuted; a depthwise one's outputs too."""
    quant = weight_quantizer(graph, consumer)
    if quant is None or consumer.input[0] != value:
        return None
    if consumer.op_type == "Conv":
        depthwise = get_attribute(consumer, "group", 1) != 1
        if not depthwise:
            return [lambda: _permute_weights_(graph, quant, permutation, 1)], None
        changes = [lambda: _permute_weights_(graph, quant, permutation, 0)]
        if len(consumer.input) > 2:
            changes.append(lambda: _permute_bias_(graph, consumer, permutation))
        return changes, axis
    if axis != rank - 1:
        return None
    along = 1 if consumer.op_type == "Gemm" and get_attribute(consumer, "transB", 0) else 0
    return [lambda: _permute_weights_(graph, quant, permutation, along)], None


def _permute_weights_(graph: GraphEditor, quant: NodeProto, permutation: np.ndarray, axis: int) -> None:
    """Permute a layer's weights, and the parameters of its grid that differ along that axis."""
    for index in range(4):
        values = graph.constants[quant.input[index]]
        if values.ndim > axis and values.shape[axis] == len(permutation):
            permuted = np.take(values, permutation, axis=axis)
            quant.input[index] = graph.add_constant(permuted, f"{quant.name}.sorted")


def _permute_bias_(graph: GraphEditor, layer: NodeProto, permutation: np.ndarray) -> None:
    layer.input[2] = graph.add_constant(graph.constants[layer.input[2]][permutation], f"{layer.name}.sorted")
