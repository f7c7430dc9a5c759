"""Files that are quantized already: refused, or read as the float network that they stand for.

Weights are taken times their scales. An activation's codes stand for its values, so its quantizers are
dropped; where the lowest code means zero, the quantizer may have replaced a ReLU or ReLU6 and becomes a clip.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from onnx import ModelProto

from brevitas_defakeq.detectors.onnx_graph import node_layers
from brevitas_defakeq.detectors.onnx_graph.converter import Handler, Node, Value
from brevitas_defakeq.detectors.onnx_graph.subgraphs import graphs_of
from brevitas_defakeq.utils.errors import UserError

#: Operator -> what a file with it is.
_FORMS = {
    "QuantizeLinear": "QDQ", "DequantizeLinear": "QDQ", "DynamicQuantizeLinear": "dynamically quantized",
    "MatMulInteger": "integer weights", "ConvInteger": "integer weights", "QLinearConv": "integer operators",
    "QLinearMatMul": "integer operators", "MatMulNBits": "weights of a few bits",
}  # fmt: skip
_PREFIXES = ("QLinear", "QGemm", "QAttention", "DynamicQuantize", "MatMulIntegerToFloat", "QMoE", "QEmbed")


def quantized_operators(model: ModelProto) -> list[str]:
    """The operators that show that a file is quantized, each once."""
    names = dict.fromkeys(node.op_type for graph in graphs_of(model.graph) for node in graph.node)
    return [name for name in names if name in _FORMS or name.startswith(_PREFIXES)]


def refuse_quantized(model: ModelProto, path: Path) -> None:
    """Raises UserError for a quantized file, saying what it is."""
    found = quantized_operators(model)
    if found:
        kinds = ", ".join(dict.fromkeys(_FORMS.get(name, "integer operators") for name in found))
        raise UserError(
            f"{path} is quantized already ({kinds}: {', '.join(found)}); give the float file that it was "
            "made from, or --from-quantized to take its weights as they are"
        )


def _quantize(node: Node) -> None:
    x = node.data(0)
    scale, zero = node.array(1), node.array(2, np.zeros((), np.uint8))
    _clipped(node, x, scale, zero)


def _clipped(node: Node, x: Value, scale: np.ndarray, zero: np.ndarray) -> None:
    """The values that the codes can stand for, if they start at zero."""
    limits = np.iinfo(zero.dtype) if np.issubdtype(zero.dtype, np.integer) else None
    if limits is None or scale.size != 1 or int(zero.reshape(-1)[0]) != limits.min:
        node.alias(x)
        return
    high = (limits.max - limits.min) * float(scale.reshape(-1)[0])
    node.graph.emit(node, "Hardtanh", [x], {"min_val": 0.0, "max_val": high})


def _dequantize(node: Node) -> None:
    node.alias(node.data(0))


def _dynamic(node: Node) -> None:
    """Codes as values: their scale is 1 and their zero point 0."""
    node.alias(node.data(0))
    numbers: list[np.ndarray] = [np.ones((), np.float32), np.zeros((), np.uint8)]
    for name, number in zip(node.outputs[1:], numbers, strict=False):
        node.graph.values[name] = Value(name, number)


def _integer_layer(convert: Callable[[Node], None]) -> Callable[[Node], None]:
    """MatMulInteger and ConvInteger: the weight's scale follows in a Mul."""

    def converted(node: Node) -> None:
        weight, zero = node.array(1), node.array(3, np.zeros((), np.int32))
        if np.any(node.array(2, np.zeros((), np.uint8))):
            node.refuse("its input has a zero point of its own")
        values = weight.astype(np.float32) - _along(zero, weight.ndim, 0 if weight.ndim > 2 else -1)
        node.inputs = [node.data(0), Value(node.data(1).name, values, source=node.data(1).source)]
        convert(node)
        maker = node.graph.makers[node.outputs[0]]
        node.graph.unscaled.add(maker.name)

    return converted


def _along(values: np.ndarray, rank: int, axis: int) -> np.ndarray:
    """One number a channel, in the shape of a tensor with ``rank`` axes."""
    if values.size == 1:
        return values.astype(np.float32).reshape(())
    shape = [1] * rank
    shape[axis] = -1
    return values.astype(np.float32).reshape(shape)


def _linear_convolution(node: Node) -> None:
    """QLinearConv: a convolution with a bias in units of the products."""
    weight, scale, zero = node.array(3), node.array(4), node.array(5)
    values = (weight.astype(np.float32) - _along(zero, weight.ndim, 0)) * _along(scale, weight.ndim, 0)
    bias = node.array(8)
    y_scale, y_zero = node.array(6), node.array(7)
    inputs: list[Value | None] = [node.data(0), Value(node.data(3).name, values, source=node.data(3).source)]
    if bias is not None:
        numbers = bias.astype(np.float32) * (node.array(1) * scale).reshape(-1)
        inputs.append(Value(node.data(8).name, numbers.astype(np.float32), source=node.data(8).source))
    _then_clipped(node, inputs, node_layers.convolution, y_scale, y_zero)


def _linear_product(node: Node) -> None:
    weight, scale, zero = node.array(3), node.array(4), node.array(5)
    values = (weight.astype(np.float32) - _along(zero, weight.ndim, -1)) * _along(scale, weight.ndim, -1)
    inputs: list[Value | None] = [node.data(0), Value(node.data(3).name, values, source=node.data(3).source)]
    _then_clipped(node, inputs, node_layers.product, node.array(6), node.array(7))


def _linear_gemm(node: Node) -> None:
    weight, scale, zero = node.array(3), node.array(4), node.array(5)
    turned = bool(node.attribute("transB", 0))
    channels = 0 if turned else -1
    values = (weight.astype(np.float32) - _along(zero, 2, channels)) * _along(scale, 2, channels)
    inputs: list[Value | None] = [node.data(0), Value(node.data(3).name, values, source=node.data(3).source)]
    if node.has(6):
        numbers = node.array(6).astype(np.float32) * (node.array(1) * scale).reshape(-1)
        inputs.append(Value(node.data(6).name, numbers.astype(np.float32), source=node.data(6).source))
    if not node.has(7):
        node.inputs = inputs
        node_layers.general_product(node)
        return
    _then_clipped(node, inputs, node_layers.general_product, node.array(7), node.array(8))


def _linear_pair(convert: Callable[[Node], None]) -> Callable[[Node], None]:
    """An operator of two operands."""

    def converted(node: Node) -> None:
        inputs: list[Value | None] = [_float_operand(node, 0), _float_operand(node, 3)]
        _then_clipped(node, inputs, convert, node.array(6), node.array(7))

    return converted


def _float_operand(node: Node, position: int) -> Value:
    """An operand of codes, its scale and its zero point after it; a constant in float."""
    value = node.data(position)
    if value.constant is None:
        return value
    numbers = (value.constant.astype(np.float32) - node.array(position + 2)) * node.array(position + 1)
    return Value(value.name, numbers.astype(np.float32), source=value.source)


def _linear_sigmoid(node: Node) -> None:
    node.module("Sigmoid")


def _linear_average(node: Node) -> None:
    if node.attribute("channels_last", 0):
        node.refuse("its channels come last")
    rank = len(node.data(0).shape) - 2
    node.module(f"AdaptiveAvgPool{rank}d", {"output_size": [1] * rank})


def _then_clipped(
    node: Node,
    inputs: list[Value | None],
    convert: Callable[[Node], None],
    scale: np.ndarray,
    zero: np.ndarray,
) -> None:
    result = node.outputs
    node.inputs, node.outputs = inputs, node.temporary("open")
    convert(node)
    made, node.outputs = node.graph.values[node.outputs[0]], result
    _clipped(node, made, scale, zero)


def _few_bits(node: Node) -> None:
    """MatMulNBits: blocks of 4- or 8-bit codes, the lower half of a byte first."""
    columns, rows = int(node.attribute("N", 0)), int(node.attribute("K", 0))
    bits, block = int(node.attribute("bits", 4)), int(node.attribute("block_size", 32))
    if bits not in (4, 8) or (node.has(3) and node.array(3).dtype != np.uint8):
        node.refuse(f"codes of {bits} bits with such zero points are not known")
    blocks = -(-rows // block)
    codes = _unpacked(node.array(1).reshape(columns, -1), bits)[:, : blocks * block].reshape(
        columns, blocks, block
    )
    zeros = np.full((columns, blocks), 2 ** (bits - 1), np.float32)
    if node.has(3):
        zeros = _unpacked(node.array(3).reshape(columns, -1), bits)[:, :blocks]
    scales = node.array(2).astype(np.float32).reshape(columns, blocks)
    weight = ((codes - zeros[..., None]) * scales[..., None]).reshape(columns, -1)[:, :rows]
    node.inputs = [node.data(0), Value(node.data(1).name, weight.T.copy(), source=node.data(1).source)]
    node_layers.product(node)


def _unpacked(codes: np.ndarray, bits: int) -> np.ndarray:
    if bits == 8:
        return codes.astype(np.float32)
    return np.stack([codes & 15, codes >> 4], axis=-1).reshape(len(codes), -1).astype(np.float32)


#: What reads a quantized file as a float network.
DEQUANTIZERS: dict[str, Handler] = {
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    "DynamicQuantizeLinear": _dynamic,
    "MatMulInteger": _integer_layer(node_layers.product),
    "ConvInteger": _integer_layer(node_layers.convolution),
    "QLinearConv": _linear_convolution,
    "QLinearMatMul": _linear_product,
    "QGemm": _linear_gemm,
    "QLinearAdd": _linear_pair(node_layers.addition),
    "QLinearMul": _linear_pair(node_layers.multiplication),
    "QLinearSigmoid": _linear_sigmoid,
    "QLinearGlobalAveragePool": _linear_average,
    "MatMulNBits": _few_bits,
}
