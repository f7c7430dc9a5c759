"""What FINN maps of quantizers and of the layers that multiply by weights, and what their codes cost."""

import numpy as np
from onnx import NodeProto

from brevitas_defakeq.export.finn.activation_functions import functions_before, step_function
from brevitas_defakeq.export.finn.graph_editor import get_attribute
from brevitas_defakeq.export.finn.layer_attributes import is_grouped
from brevitas_defakeq.export.finn.mapping_check import MappingState, ValueState
from brevitas_defakeq.export.finn.quant_node import QuantGrid, smallest_type
from brevitas_defakeq.export.finn.weight_quantizers import read_layer_weights, weight_input

#: The widest activation that FINN's thresholds take.
_WIDEST_ACTIVATION = 8


def quantizer(state: MappingState, node: NodeProto) -> ValueState:
    """A quantizer of an activation."""
    grid = QuantGrid.from_node(state.graph, node)
    if grid.scale.size > 1:
        state.reject(node, f"{grid.scale.size} scales, one for each channel: a sum over channels mixes them",
                     "use one scale for each tensor, as `defakeq quantize` does")  # fmt: skip
    if not grid.has_integer_zero_point:
        state.reject(node, "its zero point is no integer", f"round it; {state.remedy}")
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
    """Whether a quantizer behind its functions gives negative integers."""
    if not grid.is_per_tensor:
        return True
    steps = step_function(state.graph, functions_before(state.graph, node.input[0]), grid)
    with np.errstate(over="ignore"):
        return bool(steps(np.array([np.finfo(np.float32).min], np.float32)) < 0)


def product(state: MappingState, node: NodeProto) -> ValueState:
    """A convolution, or a product of matrices."""
    values = state.inputs(node)
    for value in values:
        if not value.is_integers:
            _unquantized(state, node, value)
    if weight_input(state.graph, node) is not None:
        _weights(state, node)
        _convolution(state, node)
    elif node.op_type == "Conv":
        state.reject(node, "its weights depend on the image", "use fixed weights")
    return ValueState("sums")


def _unquantized(state: MappingState, node: NodeProto, value: ValueState) -> None:
    if value.kind == "mean":
        state.reject(node, "it reads a pooling without a quantizer behind", f"put one there: {state.remedy}")
    else:
        state.reject(node, "its input is not quantized", f"quantize with --activation-bits 8; {state.remedy}")


def _weights(state: MappingState, node: NodeProto) -> None:
    weights = read_layer_weights(state.graph, node)
    if weights.is_float:
        state.reject(node, "weights, or restored channels, in float: FINN multiplies integers",
                     "let the layer be quantized; restored channels: mixed_channel_bits=8")  # fmt: skip
        return
    if weights.zero_point_bits > 0:
        width = weights.bits - weights.zero_point_bits
        state.report(node, "costs", f"weight zero points: {weights.bits} bits instead of {width}", state.remedy,
                   weights.zero_point_bits)  # fmt: skip
    consumers = state.graph.consumers(weight_input(state.graph, node))
    if len(consumers) > 1 and consumers[0] is node:
        state.report(node, "costs", f"its weights are used {len(consumers)} times: a copy for each",
                   "nothing, if the device holds them")  # fmt: skip


def _convolution(state: MappingState, node: NodeProto) -> None:
    if node.op_type != "Conv":
        return
    rank = len(state.graph.shapes.get(node.input[0], []))
    if rank != 4:
        state.reject(node, f"a convolution over {rank - 2} dimension(s)", "use two-dimensional convolutions")
    elif is_grouped(state.graph, node):
        groups = get_attribute(node, "group")
        state.report(node, "costs", f"{groups} groups: built as a dense convolution, {groups} times the codes",
                   "use one group, or as many as there are channels")  # fmt: skip
