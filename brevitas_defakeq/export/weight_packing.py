"""The written graph brought to integers: coded weights, integer biases, clips folded into quantizers."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
from onnx import ModelProto, NodeProto, helper

from brevitas_defakeq.export.constant_pool import Constants
from brevitas_defakeq.export.graph_writer import drop_unread_, initializers
from brevitas_defakeq.export.integer_weights import IntegerWeight


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
        return (
            name not in self.outputs and bool(readers) and all(r.op_type == "QuantizeLinear" for r in readers)
        )


def fold_clips_(model: ModelProto) -> None:
    """Drop each Relu and Clip whose readers are quantizers that cannot show what it cuts off."""
    graph, values, dropped = _Graph(model), initializers(model), []
    for node in list(graph.nodes):
        if node.op_type not in ("Relu", "Clip") or not graph.read_by_quantizers_only(node.output[0]):
            continue
        low, high = _clip_range(node, values)
        quantizers = graph.readers[node.output[0]]
        if all(_within_clip(quantizer, values, low, high) for quantizer in quantizers):
            for quantizer in quantizers:
                quantizer.input[0] = node.input[0]
            dropped.append(node)
    for node in dropped:
        graph.nodes.remove(node)


def _clip_range(node: NodeProto, values: Mapping[str, np.ndarray]) -> tuple[float, float]:
    if node.op_type == "Relu":
        return 0.0, float("inf")
    bounds = [values.get(name) for name in (*node.input[1:], "", "")[:2]]
    return (
        -np.inf if bounds[0] is None else float(bounds[0]), np.inf if bounds[1] is None else float(bounds[1])
    )  # fmt: skip


def _within_clip(quantizer: NodeProto, values: Mapping[str, np.ndarray], low: float, high: float) -> bool:
    """Whether every value the quantizer can show lies within the clip, up to half a step."""
    scale, zero = float(values[quantizer.input[1]]), int(values[quantizer.input[2]])
    return (0 - zero) * scale >= low - scale / 2 and (255 - zero) * scale <= high + scale / 2


def pack_weights_(
    model: ModelProto, weights: Mapping[str, IntegerWeight], constants: Constants, *, packed: bool
) -> Counter[str]:
    """Replace float weights and biases by coded ones.

    Where the runtime has an integer kernel, the weights are bytes behind a DequantizeLinear; elsewhere the
    same codes become float weights as the file is loaded. Codes beyond +-64 are unsigned bytes around 128:
    slower than signed ones, but two products with activations never overflow 16 bits on the way.

    Args:
        weights: initializer name -> its codes; none of them ``absent_weights``.

    Returns:
        how often each pattern was used.
    """
    graph, values, used = _Graph(model), initializers(model), Counter[str]()
    absent = absent_weights(model, weights)
    if absent:
        raise KeyError(f"the graph has no {', '.join(absent)}")
    for name, weight in weights.items():
        for node in graph.readers.get(name, ()):  # none of one that is kept under another's name
            x_scale = _scale_of(node.input[0], graph, values)
            integer = x_scale is not None and _has_integer_kernel(node, weight, x_scale, graph, values)
            kind = ("integer" if weight.is_safe else "unsigned") if integer else "float"
            used[f"{kind} {node.op_type}"] += 1
            if x_scale is None or not integer:
                node.input[1] = _float_weight(constants, weight, packed)
                _shield_(model, node, constants)
                continue
            node.input[1] = _integer_weight(constants, weight, packed)
            if weight.integer_bias and len(node.input) > 2:  # the exporter drops a bias of zeros
                w_scale, bias = weight.all_scales / weight.gain, values[node.input[2]]
                node.input[2] = _integer_bias(constants, w_scale, bias, x_scale)
    drop_unread_(model)
    return used


def absent_weights(model: ModelProto, weights: Mapping[str, IntegerWeight]) -> list[str]:
    """Those that the graph holds neither by name nor as an equal one, of which the exporter keeps one."""
    held = {tensor.name for tensor in model.graph.initializer}
    kept = {_digest(weight) for name, weight in weights.items() if name in held}
    return [name for name, weight in weights.items() if name not in held and _digest(weight) not in kept]


def _digest(weight: IntegerWeight) -> tuple[tuple[int, ...], bytes]:
    """Shape and values of the weight in float."""
    kept = weight.centred * weight.scale.reshape(weight.along_channels)
    restored = weight.restored * weight.restored_scale.reshape(weight.along_channels)
    values = weight.joined(kept.astype(np.float32), restored.astype(np.float32))
    return values.shape, values.tobytes()


def _has_integer_kernel(
    node: NodeProto, weight: IntegerWeight, x_scale: float, graph: _Graph, values: Mapping[str, np.ndarray]
) -> bool:
    """Whether codes are bytes and, beside an integer bias, the output is quantized no finer than the bias.

    Args:
        x_scale: of the input, which is quantized.
    """
    if not weight.is_integer:
        return False
    if not weight.integer_bias:
        return True
    if not graph.read_by_quantizers_only(node.output[0]):
        return False
    y_scale = min(float(values[quantizer.input[1]]) for quantizer in graph.readers[node.output[0]])
    return float(weight.all_scales.max()) / weight.gain * x_scale <= y_scale


def _scale_of(name: str, graph: _Graph, values: Mapping[str, np.ndarray]) -> float | None:
    """Scale of a value that comes out of a quantizer."""
    source = graph.makers.get(name)
    return (
        float(values[source.input[1]])
        if source is not None and source.op_type == "DequantizeLinear"
        else None
    )


def _integer_weight(constants: Constants, weight: IntegerWeight, packed: bool) -> str:
    scale = constants.numbers(weight.all_scales / np.float32(weight.gain))
    if weight.is_safe:
        codes = constants.weight(weight, np.int8, packed=packed, gain=weight.gain)
        return constants.dequantized(codes, scale, weight.axis)
    codes = constants.weight(weight, np.uint8, packed=packed, middle=128)
    zero_point = constants.array(np.full(len(weight.all_scales), 128, dtype=np.uint8))
    return constants.dequantized(codes, scale, weight.axis, zero_point)


def _float_weight(constants: Constants, weight: IntegerWeight, packed: bool) -> str:
    """scale x (codes - zero point) in float, folded as the file is loaded."""
    centred = constants.weight(weight, np.float32, packed=packed)
    scale = constants.reshaped(constants.numbers(weight.all_scales), weight.along_channels)
    values = constants.product(centred, scale)
    if weight.exchanged_groups is None:
        return values
    shape = (len(weight.all_scales), *weight.codes.shape[1:])
    return constants.exchanged(values, shape, weight.exchanged_groups)


def _shield_(model: ModelProto, node: NodeProto, constants: Constants) -> None:
    """``Max(x, lowest)`` before the layer: runtimes requantize float weights behind a DequantizeLinear."""
    shielded = f"{node.output[0]}.shielded"
    lowest = constants.array(np.array(np.finfo(np.float32).min))
    position = list(model.graph.node).index(node)
    model.graph.node.insert(position, helper.make_node("Max", [node.input[0], lowest], [shielded]))
    node.input[0] = shielded


def _integer_bias(constants: Constants, w_scale: np.ndarray, bias: np.ndarray, x_scale: float) -> str:
    """int32 in units of x_scale * w_scale: the grid of the products, without which nothing fuses."""
    grid = w_scale.astype(np.float64) * x_scale
    codes = np.round(bias / grid).clip(-(2**31), 2**31 - 1).astype(np.int32)
    scale = constants.product(
        constants.numbers(w_scale.astype(np.float32)), constants.array(np.array(x_scale, dtype=np.float32))
    )
    return constants.dequantized(constants.integers(codes), scale, 0)


def pool_numbers_(model: ModelProto, constants: Constants) -> None:
    """Every other float vector in half precision where that is exact."""
    names = {
        name: constants.numbers(values)
        for name, values in initializers(model).items()
        if values.dtype == np.float32
    }
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
