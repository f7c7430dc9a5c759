"""Activation functions that rise: with the quantizer behind them they are steps, and steps are thresholds.

``quantize(f(x))`` of a rising f takes its integers in order as x grows. Where each begins is found in float32
itself, so that the thresholds give the same integer for every float32 number, ties included.
"""

from collections.abc import Callable

import numpy as np
import onnxruntime
from onnx import ModelProto, NodeProto, helper, numpy_helper

from brevitas_defakeq.export.finn.graph_editor import GraphEditor, float_value_info, get_attribute
from brevitas_defakeq.export.finn.quant_node import QuantGrid

#: Functions of one number that never fall.
_RISING = frozenset({"Relu", "Clip", "Sigmoid", "Tanh", "HardSigmoid", "Selu", "Softplus", "Softsign"})
#: These fall for a negative alpha only.
_RISING_BY_ALPHA = {"LeakyRelu": 0.01, "Elu": 1.0, "Celu": 1.0}
_AFFINE = frozenset({"Add", "Sub", "Mul", "Div"})


def is_rising_function(graph: GraphEditor, node: NodeProto | None) -> bool:
    """Whether a node is a rising activation function of one value of the image."""
    if node is None or any(not graph.is_constant(name) for name in node.input[1:] if name):
        return False
    if node.op_type in _RISING_BY_ALPHA:
        return get_attribute(node, "alpha", _RISING_BY_ALPHA[node.op_type]) >= 0
    return node.op_type in _RISING


def _is_scalar_affine(graph: GraphEditor, node: NodeProto | None) -> bool:
    """Whether a node adds one number, or multiplies by a positive one."""
    if node is None or node.op_type not in _AFFINE or graph.is_constant(node.input[0]):
        return False
    number = graph.constants.get(node.input[1])
    if number is None or number.size != 1:
        return False
    return node.op_type in ("Add", "Sub") or float(number.item()) > 0


def functions_before(graph: GraphEditor, name: str) -> list[NodeProto]:
    """The functions that end in a value, first to last; scalar arithmetic between them counts as theirs."""
    chain: list[NodeProto] = []
    producer = graph.producer(name)
    while is_rising_function(graph, producer) or _is_scalar_affine(graph, producer):
        chain.insert(0, producer)
        producer = graph.producer(producer.input[0])
    while chain and not is_rising_function(graph, chain[0]):  # arithmetic alone is streamlined by FINN itself
        chain.pop(0)
    return chain


def step_function(
    graph: GraphEditor, chain: list[NodeProto], quantizer: QuantGrid
) -> Callable[[np.ndarray], np.ndarray]:
    """``code - zero_point`` of float32 numbers [N] that go through the chain and the quantizer."""
    if not chain:
        return quantizer.integers
    session = onnxruntime.InferenceSession(
        _chain_model(graph, chain).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return lambda values: quantizer.integers(session.run(None, {"x": values.astype(np.float32)})[0])


def _chain_model(graph: GraphEditor, chain: list[NodeProto]) -> ModelProto:
    copies, source = [], "x"
    for number, original in enumerate(chain):
        copy = NodeProto()
        copy.CopyFrom(original)
        copy.input[0], copy.output[0] = source, f"y{number}"
        source = copy.output[0]
        copies.append(copy)
    names = dict.fromkeys(name for node in chain for name in node.input[1:] if name)
    # A scalar of shape [1, 1] would give the numbers further axes.
    constants = [numpy_helper.from_array(graph.constants[name].reshape(()), name) for name in names]
    ends = [float_value_info("x", ["n"])], [float_value_info(source, ["n"])]
    body = helper.make_graph(copies, "functions", *ends, constants)
    return helper.make_model(body, opset_imports=graph.model.opset_import, ir_version=graph.model.ir_version)


def find_thresholds(steps: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, int]:
    """Where a rising step function of float32 takes each of its integers.

    Args:
        steps: float32 numbers [N] -> integers [N], never falling.

    Returns:
        float32 [n], the least x of each integer after the first; and the first integer.
    """

    def rounded(values: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):  # the ends of float32 over a small scale
            return steps(values)

    ends = rounded(np.array([-_LARGEST, _LARGEST], np.float32))
    first, last = int(ends[0]), int(ends[1])
    wanted = np.arange(first + 1, last + 1)
    below = np.full(len(wanted), _place(np.float32(-_LARGEST)))
    above = np.full(len(wanted), _place(np.float32(_LARGEST)))
    while (above - below > 1).any():
        middle = (below + above) // 2
        reached = rounded(_number(middle)) >= wanted
        above, below = np.where(reached, middle, above), np.where(reached, below, middle)
    return _number(above), first


_LARGEST = np.finfo(np.float32).max


def _place(number: np.float32) -> np.int64:
    """The position of a float32 number among all of them: order-preserving, 0 for 0."""
    raw = np.int64(np.abs(number).view(np.int32))
    return -raw if np.signbit(number) else raw


def _number(places: np.ndarray) -> np.ndarray:
    """float32 numbers [N] at positions [N]."""
    sizes = np.abs(places).astype(np.int32).view(np.float32)
    return np.where(places < 0, -sizes, sizes)
