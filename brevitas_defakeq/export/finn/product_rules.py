"""Mapping rules of quantizers and of layers with weights, and what their zero points and groups cost."""

import numpy as np
from onnx import NodeProto

from brevitas_defakeq.export.finn.activation_functions import functions_before, step_function
from brevitas_defakeq.export.finn.graph_editor import get_attribute
from brevitas_defakeq.export.finn.layer_attributes import is_grouped
from brevitas_defakeq.export.finn.mapping_check import MappingState, ValueState
from brevitas_defakeq.export.finn.quant_node import QuantGrid, smallest_type
from brevitas_defakeq.export.finn.weight_quantizers import LayerWeights, read_layer_weights

#: Bits of the widest activation that becomes thresholds.
_WIDEST_ACTIVATION = 8


def quantizer(state: MappingState, node: NodeProto) -> ValueState:
    """A quantizer of an activation."""
    grid = QuantGrid.from_node(state.graph, node)
    if grid.scale.size > 1:
        state.reject(node, f"{grid.scale.size} scales, one per channel: a sum over channels mixes them",
                     "use one scale per tensor, as `defakeq quantize` does")  # fmt: skip
    if not grid.has_integer_zero_point:
        state.reject(node, "its zero point is not an integer", f"round it; {state.remedy}")
    if grid.rounding not in ("ROUND", "HALF_EVEN"):
        state.reject(node, f"it rounds by {grid.rounding}", "round to nearest")
    bits = int(grid.bits.max())
    if bits > _WIDEST_ACTIVATION:
        state.reject(node, f"activations of {bits} bits: thresholds go up to {_WIDEST_ACTIVATION}",
                     f"quantize with --activation-bits {_WIDEST_ACTIVATION}")  # fmt: skip
    needed = smallest_type(grid.min_integer, grid.max_integer)[0] if grid.has_integer_zero_point else bits
    if grid.zero_point.any() and needed > bits:
        zero = int(grid.zero_point.reshape(-1)[0])
        problem = f"activation zero point {zero}: {needed} bits instead of {bits}"
        state.report(node, "costs", problem, state.remedy, needed - bits)
    return ValueState("integers", float(grid.scale.reshape(-1)[0]), _reaches_below_zero(state, node, grid))


def _reaches_below_zero(state: MappingState, node: NodeProto, grid: QuantGrid) -> bool:
    """Whether a quantizer, with the activation functions before it, produces negative integers."""
    if not grid.is_per_tensor:
        return True
    steps = step_function(state.graph, functions_before(state.graph, node.input[0]), grid)
    with np.errstate(over="ignore"):
        return bool(steps(np.array([np.finfo(np.float32).min], np.float32)) < 0)


def product(state: MappingState, node: NodeProto) -> ValueState:
    """Conv, MatMul or Gemm."""
    values = state.inputs(node)
    for value in values:
        if not value.is_integers:
            _unquantized(state, node, value)
    weights = read_layer_weights(state.graph, node)
    if weights is not None:
        _weights(state, node, weights)
        _convolution(state, node)
    elif node.op_type == "Conv":
        state.reject(node, "its weights depend on the image", "use fixed weights")
    return ValueState("sums")


def _unquantized(state: MappingState, node: NodeProto, value: ValueState) -> None:
    if value.kind == "mean":
        state.reject(node, "it reads a pooling without a quantizer after it", f"add one: {state.remedy}")
    else:
        state.reject(node, "its input is not quantized", f"quantize with --activation-bits 8; {state.remedy}")


def _weights(state: MappingState, node: NodeProto, weights: LayerWeights) -> None:
    if weights.is_float:
        state.reject(node, "weights, or restored channels, are float: FINN multiplies integers",
                     "quantize the layer; for restored channels: mixed_channel_bits=8")  # fmt: skip
        return
    if weights.zero_point_bits > 0:
        width = weights.bits - weights.zero_point_bits
        problem = f"weight zero points: {weights.bits} bits instead of {width}"
        state.report(node, "costs", problem, state.remedy, weights.zero_point_bits)
    consumers = state.graph.consumers(weights.name)
    if len(consumers) > 1 and consumers[0] is node:
        problem = f"its weights are used {len(consumers)} times: hardware holds a copy for each"
        state.report(node, "costs", problem, "no change needed if the device holds them")


def _convolution(state: MappingState, node: NodeProto) -> None:
    if node.op_type != "Conv":
        return
    rank = len(state.graph.shapes.get(node.input[0], []))
    if rank != 4:
        state.reject(node, f"a convolution over {rank - 2} dimension(s)", "use two-dimensional convolutions")
    elif is_grouped(state.graph, node):
        groups = get_attribute(node, "group")
        problem = f"{groups} groups: built as a dense convolution with {groups} times as many weights"
        state.report(node, "costs", problem, "use one group, or as many as there are channels")
