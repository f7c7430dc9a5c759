"""Mapping rules of arithmetic, joins, pooling and padding, which FINN maps on integers of one scale."""

from dataclasses import replace

import numpy as np
from onnx import NodeProto

from brevitas_defakeq.export.finn.graph_editor import get_attribute
from brevitas_defakeq.export.finn.mapping_check import MappingState, ValueState
from brevitas_defakeq.export.finn.pooling import can_be_convolution
from brevitas_defakeq.export.finn.zero_padding import spatial_padding


def arithmetic(state: MappingState, node: NodeProto) -> ValueState:
    """Add, Sub, Mul or Div."""
    values = state.inputs(node)
    if len(values) == 1:
        return _with_constant(state, node, values[0])
    if node.op_type in ("Mul", "Div"):
        state.reject(node, *_gate(state, node))
        return ValueState("numbers")
    scales = {np.float32(value.scale) for value in values if value.is_integers}
    if not all(value.is_integers for value in values):
        state.reject(
            node, "a sum whose operands are not all quantized", f"one quantizer for both: {state.remedy}"
        )
    elif len(scales) > 1:
        shown = " and ".join(f"{scale:.4g}" for scale in sorted(scales))
        problem = f"a sum whose operands have two scales, {shown}"
        state.reject(node, problem, f"one quantizer for both: {state.remedy}")
    negative = node.op_type == "Sub" or any(value.negative for value in values)
    return ValueState("integers", values[0].scale, negative)


def _with_constant(state: MappingState, node: NodeProto, value: ValueState) -> ValueState:
    number = next(
        (state.graph.constants[name] for name in node.input if state.graph.is_constant(name)), np.zeros(2)
    )
    if node.op_type == "Mul" and value.is_integers and number.size == 1 and float(number.item()) > 0:
        return ValueState("integers", value.scale * float(number.item()), value.negative)
    if value.kind in ("function", "mean") and number.size > 1:
        what = "an activation function" if value.kind == "function" else "a pooling"
        state.reject(node, f"per-channel arithmetic between {what} and its quantizer",
                     "move it before the function, or into the next layer's weights")  # fmt: skip
    return ValueState("sums") if value.is_integers else value


def _gate(state: MappingState, node: NodeProto) -> tuple[str, str]:
    """Problem and change for a product of two values that both depend on the image."""
    producers = [state.graph.producer(name) for name in node.input]
    for producer, other in zip(producers, reversed(node.input), strict=True):
        if producer is not None and producer.op_type in ("Sigmoid", "HardSigmoid"):
            if producer.input[0] == other:
                return "SiLU (Swish): x times its sigmoid is not monotonic", "use a network with ReLU"
            return "a sigmoid gate (squeeze and excitation)", "use a network without such gates"
    return "a product of two values that depend on the image", "use a network without gates"


def affine(state: MappingState, node: NodeProto) -> ValueState:
    """A BatchNorm that was not folded: a factor and an offset per channel."""
    return _with_constant(state, node, state.inputs(node)[0])


def concatenation(state: MappingState, node: NodeProto) -> ValueState:
    """Concat, possibly with a constant such as a class token."""
    values = state.inputs(node)
    if len(values) > 1 and not is_along_channels(state, node):
        state.reject(node, "it joins values along another axis than the channels", "join channels")
    if len({*node.input}) < len(node.input):
        state.reject(node, "it joins a value with itself", "widen the layer that makes it")
    if len(values) > 1 and not same_scales(values):
        state.reject(
            node, "it joins values that do not have one scale", f"one quantizer for all: {state.remedy}"
        )
    return replace(values[0], negative=any(value.negative for value in values))


def is_along_channels(state: MappingState, node: NodeProto) -> bool:
    """Whether a Concat or Split works along the channels: axis 1 of maps, the last one of other values."""
    rank = len(state.graph.shapes[node.input[0]])
    return get_attribute(node, "axis", 0) % rank == (1 if rank == 4 else rank - 1)


def same_scales(values: list[ValueState]) -> bool:
    """Whether all values are integers of one scale."""
    return all(value.is_integers for value in values) and len({np.float32(v.scale) for v in values}) == 1


def pooling(state: MappingState, node: NodeProto) -> ValueState:
    """MaxPool, AveragePool or a mean."""
    (value,) = state.inputs(node)
    if not value.is_integers:
        state.reject(
            node, "it pools values that are not quantized", f"put a quantizer before it: {state.remedy}"
        )
    if node.op_type == "MaxPool":
        _max_pool(state, node, value)
        return value
    if node.op_type == "ReduceMean" and len(state.graph.shapes[node.input[0]]) == 4:
        state.reject(node, "a mean over some axes of a map: FINN averages over height and width only",
                     "average over both at once, as in x.mean((2, 3))")  # fmt: skip
    elif node.op_type == "ReduceMean":
        state.reject(node, "a mean over tokens: FINN averages over height and width only",
                     "use the class token (for timm: --model-arg global_pool=token)")  # fmt: skip
    elif node.op_type == "AveragePool" and can_be_convolution(node):
        return ValueState("sums")
    elif node.op_type == "AveragePool":
        state.reject(node, "its windows do not all cover the same number of values",
                     "use count_include_pad=True and ceil_mode=False")  # fmt: skip
    return ValueState("mean")


def _max_pool(state: MappingState, node: NodeProto, value: ValueState) -> None:
    if any(get_attribute(node, "pads", [0])) and value.is_integers and value.negative:
        state.reject(node, "it pads values that may be negative, and FINN pads with 0",
                     "put a ReLU before the pooling, or use no padding")  # fmt: skip
    kernel, strides = get_attribute(node, "kernel_shape"), get_attribute(node, "strides")
    pads = get_attribute(node, "pads", [0] * 2 * len(kernel))
    if pads[: len(kernel)] != pads[len(kernel) :]:
        state.reject(node, f"it pads unevenly, by {pads}", "pad both sides alike")
    if len(kernel) != 2 or any(size < step for size, step in zip(kernel, strides, strict=True)):
        problem = f"a window of {kernel} with strides {strides}"
        state.reject(node, problem, "use a window no smaller than the stride")
    if get_attribute(node, "ceil_mode", 0) or set(get_attribute(node, "dilations", [1])) != {1}:
        state.reject(
            node, "it rounds its output size up, or is dilated", "use ceil_mode=False and no dilation"
        )


def padding(state: MappingState, node: NodeProto) -> ValueState:
    """Zeros around a map that no convolution absorbs."""
    (value,) = state.inputs(node)
    if spatial_padding(state.graph, node) is None:
        state.reject(
            node, "it pads with something other than zeros, or not only height and width", "pad with zeros"
        )
    elif not value.is_integers:
        state.reject(
            node, "it pads values that are not quantized", f"put a quantizer before it: {state.remedy}"
        )
    return value
