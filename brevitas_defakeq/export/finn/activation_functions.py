"""Monotonically rising activation functions and their quantizer as thresholds.

``quantize(f(x))`` of a rising f is a step function. The least float32 x of each step is found by bisection
over the float32 numbers themselves, so that the thresholds give the same integer for every float32 number,
ties included.
"""

from collections.abc import Callable

import numpy as np
import onnxruntime
from onnx import ModelProto, NodeProto, helper, numpy_helper

from brevitas_defakeq.export.finn.graph_editor import (
    ARITHMETIC_OPS,
    GraphEditor,
    float_value_info,
    get_attribute,
)
from brevitas_defakeq.export.finn.quant_node import QuantGrid

#: Elementwise functions that never fall.
_RISING = frozenset({"Relu", "Clip", "Sigmoid", "Tanh", "HardSigmoid", "Selu", "Softplus", "Softsign"})
#: Functions that never fall unless alpha is negative -> ONNX default of alpha.
_RISING_BY_ALPHA = {"LeakyRelu": 0.01, "Elu": 1.0, "Celu": 1.0}


def is_rising_function(graph: GraphEditor, node: NodeProto | None) -> bool:
    """Whether a node is a rising activation function of one value that depends on the image."""
    if node is None or any(not graph.is_constant(name) for name in node.input[1:] if name):
        return False
    if node.op_type in _RISING_BY_ALPHA:
        return get_attribute(node, "alpha", _RISING_BY_ALPHA[node.op_type]) >= 0
    return node.op_type in _RISING


def _is_scalar_affine(graph: GraphEditor, node: NodeProto | None) -> bool:
    """Whether a node adds a constant scalar, or multiplies by a positive one."""
    if node is None or node.op_type not in ARITHMETIC_OPS or graph.is_constant(node.input[0]):
        return False
    number = graph.constants.get(node.input[1])
    if number is None or number.size != 1:
        return False
    return node.op_type in ("Add", "Sub") or float(number.item()) > 0


def functions_before(graph: GraphEditor, name: str) -> list[NodeProto]:
    """The chain of activation functions and scalar arithmetic that ends in a value, first to last."""
    chain: list[NodeProto] = []
    producer = graph.producer(name)
    while producer is not None and (
        is_rising_function(graph, producer) or _is_scalar_affine(graph, producer)
    ):
        chain.insert(0, producer)
        producer = graph.producer(producer.input[0])
    while chain and not is_rising_function(graph, chain[0]):  # FINN streamlines arithmetic alone
        chain.pop(0)
    return chain


def step_function(
    graph: GraphEditor, chain: list[NodeProto], quantizer: QuantGrid
) -> Callable[[np.ndarray], np.ndarray]:
    """The function from float32 [N] to integers ``code - zero_point`` [N] of the chain and its quantizer."""
    if not chain:
        return quantizer.integers
    session = onnxruntime.InferenceSession(
        _chain_model(graph, chain).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return lambda values: quantizer.integers(session.run(None, {"x": values.astype(np.float32)})[0])


def _chain_model(graph: GraphEditor, chain: list[NodeProto]) -> ModelProto:
    copies: list[NodeProto] = []
    source = "x"
    for number, original in enumerate(chain):
        copy = NodeProto()
        copy.CopyFrom(original)
        copy.input[0], copy.output[0] = source, f"y{number}"
        source = copy.output[0]
        copies.append(copy)
    names = dict.fromkeys(name for node in chain for name in node.input[1:] if name)
    # a constant of shape [1, 1] would broadcast [n] to [1, n]
    constants = [numpy_helper.from_array(graph.constants[name].reshape(()), name) for name in names]
    inputs, outputs = [float_value_info("x", ["n"])], [float_value_info(source, ["n"])]
    body = helper.make_graph(copies, "functions", inputs, outputs, constants)
    return helper.make_model(body, opset_imports=graph.model.opset_import, ir_version=graph.model.ir_version)


def find_thresholds(steps: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, int]:
    """The thresholds of a rising step function.

    Args:
        steps: float32 [N] -> integers [N], never falling.

    Returns:
        the least x of each integer after the first, float32 [n]; and the first integer.
    """

    def integers_at(values: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):  # the largest floats divided by a small scale
            return steps(values)

    extremes = integers_at(np.array([-_LARGEST, _LARGEST], np.float32))
    first, last = int(extremes[0]), int(extremes[1])
    wanted = np.arange(first + 1, last + 1)
    below = np.full(len(wanted), _float_to_index(np.float32(-_LARGEST)))
    above = np.full(len(wanted), _float_to_index(np.float32(_LARGEST)))
    while (above - below > 1).any():
        middle = (below + above) // 2
        reached = integers_at(_index_to_float(middle)) >= wanted
        above, below = np.where(reached, middle, above), np.where(reached, below, middle)
    return _index_to_float(above), first


_LARGEST = np.finfo(np.float32).max


def _float_to_index(number: np.float32) -> np.int64:
    """The rank of a float32 number among all of them; 0 for 0."""
    raw = np.int64(np.abs(number).view(np.int32))
    return -raw if np.signbit(number) else raw


def _index_to_float(indices: np.ndarray) -> np.ndarray:
    """The float32 numbers [N] of ranks int64 [N]."""
    sizes = np.abs(indices).astype(np.int32).view(np.float32)
    return np.where(indices < 0, -sizes, sizes)
