"""Execution of a profile in float64, the reference for hardware.

In float32 a sum next to a rounding boundary is rounded up or down by the order of its terms, and one such
value may change the logit. Integer hardware has no such order.
"""

from collections.abc import Callable

import numpy as np
from onnx import NodeProto
from onnx.reference import ReferenceEvaluator
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.general.intquant import int_quant
from qonnx.custom_op.registry import getCustomOp, is_custom_op
from qonnx.util.basic import get_by_name
from scipy.special import erf


def run_exactly(model: ModelWrapper, integers: np.ndarray) -> np.ndarray:
    """The output of a graph of ONNX and qonnx operators for one input, float64.

    Args:
        integers: the graph's input, of its shape.
    """
    graph = model.graph
    values = {each.name: _double(model.get_initializer(each.name)) for each in graph.initializer}
    values[graph.input[0].name] = integers.astype(np.float64)
    opset = model.get_opset_imports()[""]
    for node in graph.node:
        _run(node, values, model, opset)
    return values[graph.output[0].name]


def _double(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float64) if values.dtype.kind == "f" else values


def _run(node: NodeProto, values: dict[str, np.ndarray], model: ModelWrapper, opset: int) -> None:
    inputs = [values.get(name) for name in node.input]
    operator = _OPERATORS.get(node.op_type)
    if operator is not None:
        values[node.output[0]] = operator(node, *inputs)
    elif is_custom_op(node.domain, node.op_type):
        values.update(_custom(node, values, model))
    else:
        evaluator = ReferenceEvaluator(node, opsets={"": opset})
        given = {name: values[name] for name in node.input if name}
        results = evaluator.run(None, given)
        assert isinstance(results, list)  # a dict only if intermediate results were asked for
        values.update(zip(node.output, results, strict=True))


def _custom(node: NodeProto, values: dict[str, np.ndarray], model: ModelWrapper) -> dict[str, np.ndarray]:
    """Operators of qonnx and FINN: they move or add integers, exact in float32, or compare thresholds."""
    kind = np.float64 if node.op_type == "MultiThreshold" else np.float32
    context = {name: values[name].astype(kind) for name in node.input}
    # some operators read the shape of their own output from the context
    context |= {name: np.zeros(model.get_tensor_shape(name), kind) for name in node.output}
    getCustomOp(node).execute_node(context, model.graph)
    return {name: context[name].astype(np.float64) for name in node.output}


def _ints(node: NodeProto, name: str, default: list[int]) -> list[int]:
    found = get_by_name(node.attribute, name)
    return default if found is None else list(found.ints)


def _convolution(
    node: NodeProto, images: np.ndarray, weights: np.ndarray, bias: np.ndarray | None = None
) -> np.ndarray:
    """Convolution in one einsum; onnx's reference loops over the hundreds of groups of depthwise layers."""
    strides, pads = _ints(node, "strides", [1, 1]), _ints(node, "pads", [0, 0, 0, 0])
    dilation = _ints(node, "dilations", [1, 1])
    count = get_by_name(node.attribute, "group")
    groups = 1 if count is None else count.i
    padded = np.pad(images, ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])))
    kernel = [1 + (size - 1) * step for size, step in zip(weights.shape[2:], dilation, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(2, 3))
    windows = windows[:, :, :: strides[0], :: strides[1], :: dilation[0], :: dilation[1]]
    batch, channels, height, width = windows.shape[:4]
    split = windows.reshape(batch, groups, channels // groups, height, width, -1)
    filters = weights.reshape(groups, len(weights) // groups, weights.shape[1], -1)
    result = np.einsum("bgchwk,gock->bgohw", split, filters, optimize=True)
    result = result.reshape(batch, len(weights), height, width)
    return result if bias is None else result + bias.reshape(1, -1, 1, 1)


def _global_average(node: NodeProto, images: np.ndarray) -> np.ndarray:
    return images.mean((2, 3), keepdims=True)


def _quantizer(
    node: NodeProto, images: np.ndarray, scale: np.ndarray, zero_point: np.ndarray, bits: np.ndarray
) -> np.ndarray:
    """qonnx's arithmetic without the rounding of the result to float32."""
    get = getCustomOp(node).get_nodeattr
    return int_quant(
        images, scale, zero_point, bits, get("signed"), get("narrow"), get("rounding_mode").upper()
    )


def _gelu(node: NodeProto, values: np.ndarray) -> np.ndarray:
    kind = get_by_name(node.attribute, "approximate")
    if kind is not None and kind.s == b"tanh":
        inner = np.sqrt(2 / np.pi) * (values + 0.044715 * values**3)
        return 0.5 * values * (1 + np.tanh(inner))
    return 0.5 * values * (1 + erf(values / np.sqrt(2)))


#: Operators computed here, in float64.
_OPERATORS: dict[str, Callable] = {
    "Conv": _convolution, "GlobalAveragePool": _global_average, "Quant": _quantizer, "IntQuant": _quantizer,
    "Gelu": _gelu,
}  # fmt: skip
