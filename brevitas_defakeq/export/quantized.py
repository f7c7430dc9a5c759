"""The written graph brought to integers: coded weights, integer biases, clips folded into quantizers."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from brevitas_defakeq.export.constants import Constants
from brevitas_defakeq.export.graph import initializers
from brevitas_defakeq.export.weights import CodedWeight


class _Graph:
    """Who makes and who reads each value."""

    def __init__(self, model: ModelProto) -> None:
        self.nodes = model.graph.node
        self.makers = {name: node for node in self.nodes for name in node.output}
        self.readers: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.outputs = {value.name for value in model.graph.output}

    def read_by_quantizers_only(self, name: str) -> bool:
        readers = self.readers.get(name, [])
        return name not in self.outputs and bool(readers) and all(r.op_type == "QuantizeLinear" for r in readers)


def fold_clips_(model: ModelProto) -> int:
    """Drop each Relu and Clip whose readers are quantizers that cannot show what it cuts off; how many."""
    graph, values, dropped = _Graph(model), initializers(model), []
    for node in list(graph.nodes):
        if node.op_type not in ("Relu", "Clip") or not graph.read_by_quantizers_only(node.output[0]):
            continue
        low, high = _clip_range(node, values)
        quantizers = graph.readers[node.output[0]]
        if all(_range(quantizer, values, low, high) for quantizer in quantizers):
            for quantizer in quantizers:
                quantizer.input[0] = node.input[0]
            dropped.append(node)
    for node in dropped:
        graph.nodes.remove(node)
    return len(dropped)


def _clip_range(node: NodeProto, values: Mapping[str, np.ndarray]) -> tuple[float, float]:
    if node.op_type == "Relu":
        return 0.0, float("inf")
    bounds = [values.get(name) for name in (*node.input[1:], "", "")[:2]]
    return (
        -np.inf if bounds[0] is None else float(bounds[0]), np.inf if bounds[1] is None else float(bounds[1])
    )  # fmt: skip


def _range(quantizer: NodeProto, values: Mapping[str, np.ndarray], low: float, high: float) -> bool:
    """Whether every value the quantizer can show lies within the clip, up to half a step."""
    scale, zero = float(values[quantizer.input[1]]), int(values[quantizer.input[2]])
    return (0 - zero) * scale >= low - scale / 2 and (255 - zero) * scale <= high + scale / 2


def pack_weights_(
    model: ModelProto, weights: Mapping[str, CodedWeight], constants: Constants, *, packed: bool
) -> Counter:
    """Replace float weights and biases by coded ones.

    The runtime takes integers for a MatMul whose input is quantized, and for a convolution whose output is
    quantized too; any other convolution reads the same int8 weights back as float. Eight asymmetric bits do not
    fit int8 once the zero point is taken off: such a convolution gets float weights, and its input is rounded by
    float operators, since runtimes requantize float weights that stand behind a DequantizeLinear.

    Args:
        weights: initializer name -> its codes.

    Returns:
        how often each pattern was used.
    """
    graph, values, used = _Graph(model), initializers(model), Counter()
    replaced: set[str] = set()
    for name, weight in weights.items():
        if name not in values:
            continue  # equal to another layer's, which the exporter has kept
        replaced.add(name)
        scale = constants.numbers(weight.scale)
        coded = ""
        for node in graph.readers[name]:
            source = graph.makers.get(node.input[0])
            quantized = source is not None and source.op_type == "DequantizeLinear"
            if node.op_type == "Conv" and not weight.fits_int8:
                coded = coded or _float_weight(constants, weight, scale)
                if quantized:
                    _round_in_float_(model, source)
                used["float Conv"] += 1
            else:
                coded = coded or _coded_weight(constants, weight, scale, packed)
                fused = quantized and (
                    node.op_type == "MatMul" or graph.read_by_quantizers_only(node.output[0])
                )
                used[f"{'integer' if fused else 'unfused'} {node.op_type}"] += 1
                if fused and node.op_type == "Conv":
                    replaced.add(node.input[2])
                    node.input[2] = _integer_bias(
                        constants, weight, values[node.input[2]], values[source.input[1]]
                    )
            node.input[1] = coded
    _drop_initializers(model, replaced)
    return used


def _coded_weight(constants: Constants, weight: CodedWeight, scale: str, packed: bool) -> str:
    if weight.fits_int8:
        return constants.dequantized(constants.weight(weight, packed=packed), scale, weight.axis)
    zero = constants.array(weight.zero_point.astype(np.uint8))
    return constants.dequantized(constants.array(weight.codes), scale, weight.axis, zero)


def _float_weight(constants: Constants, weight: CodedWeight, scale: str) -> str:
    """scale x (codes - zero point) in float, folded as the file is loaded."""
    shape = [-1 if axis == weight.axis else 1 for axis in range(weight.codes.ndim)]
    codes = constants.float_of(constants.array(weight.codes))
    zero = constants.array(weight.zero_point.astype(np.float32).reshape(shape))
    return constants.product(constants.difference(codes, zero), constants.reshaped(scale, shape))


def _round_in_float_(model: ModelProto, dequantize: NodeProto) -> None:
    """The same rounding as a quantizer pair, by operators that no runtime takes for one."""
    nodes, values = model.graph.node, initializers(model)
    quantize = next(node for node in nodes if node.output[0] == dequantize.input[0])
    scale, zero = float(values[quantize.input[1]]), int(values[quantize.input[2]])
    name, result = quantize.output[0], dequantize.output[0]
    constants = {"scale": scale, "low": float(-zero), "high": float(255 - zero)}
    for key, value in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(np.float32(value), f"{name}.{key}"))
    chain = [
        helper.make_node("Div", [quantize.input[0], f"{name}.scale"], [f"{name}.units"]),
        helper.make_node("Round", [f"{name}.units"], [f"{name}.rounded"]),
        helper.make_node("Clip", [f"{name}.rounded", f"{name}.low", f"{name}.high"], [f"{name}.kept"]),
        helper.make_node("Mul", [f"{name}.kept", f"{name}.scale"], [result]),
    ]
    position = list(nodes).index(quantize)
    nodes.remove(quantize)
    nodes.remove(dequantize)
    for offset, node in enumerate(chain):
        nodes.insert(position + offset, node)


def _integer_bias(constants: Constants, weight: CodedWeight, bias: np.ndarray, x_scale: np.ndarray) -> str:
    """int32 in units of x_scale * w_scale: the grid of the products, without which nothing fuses."""
    grid = weight.scale * np.float32(x_scale)
    codes = np.round(bias.astype(np.float64) / grid).clip(-(2**31), 2**31 - 1).astype(np.int32)
    scale = constants.product(constants.numbers(weight.scale), constants.array(np.float32(x_scale)))
    return constants.dequantized(constants.array(codes), scale, 0)


def pool_numbers_(model: ModelProto, constants: Constants) -> None:
    """Every other float vector in half precision where that is exact."""
    kept = {name: values for name, values in initializers(model).items() if _poolable(values)}
    names = {name: constants.numbers(values) for name, values in kept.items()}
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    _drop_initializers(model, set(kept))


def _poolable(values: np.ndarray) -> bool:
    return values.dtype == np.float32 and values.size > 4


def _drop_initializers(model: ModelProto, names: set[str]) -> None:
    read = {name for node in model.graph.node for name in node.input}
    for tensor in [t for t in model.graph.initializer if t.name in names and t.name not in read]:
        model.graph.initializer.remove(tensor)
