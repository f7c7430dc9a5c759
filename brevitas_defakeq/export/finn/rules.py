"""What FINN maps, operator by operator, and what to do where it does not."""

import numpy as np
from onnx import NodeProto

from brevitas_defakeq.export.finn.functions import is_function
from brevitas_defakeq.export.finn.graph import MOVES, attribute
from brevitas_defakeq.export.finn.layers import is_grouped, spatial_padding
from brevitas_defakeq.export.finn.quantizer import Quantizer, smallest_type
from brevitas_defakeq.export.finn.walk import Rule, Value, Walk
from brevitas_defakeq.export.finn.weights import read_weights, weight_input

#: The widest activation that FINN's thresholds take.
_WIDEST_ACTIVATION = 8
_NUMBERS, _SUMS = Value("numbers"), Value("sums")
_VERSAL = "build for a Versal board, or use a network with ReLU"
#: Operators without a counterpart -> what to do.
_HINTS = {
    "HardSwish": "use a network with ReLU: MobileNetV2 in place of V3",
    "Erf": "export GELU as one node (operator set 20)",
    "Resize": "resize the image before the detector; layers that enlarge maps have no form here",
    "Upsample": "resize the image before the detector",
    "Slice": "windows that are shifted and cut have no form; use a plain ViT or a CNN",
    "Einsum": "write it as MatMul",
    "ConvTranspose": "detectors have no need of it; leave that part out",
    "PRelu": "use ReLU or LeakyReLU",
    "InstanceNormalization": "use a network with BatchNorm",
    "GroupNormalization": "use a network with BatchNorm",
}  # fmt: skip


def quantizer(state: Walk, node: NodeProto) -> Value:
    """A quantizer of an activation."""
    grid = Quantizer.of(state.graph, node)
    if grid.scale.size > 1:
        state.cannot(node, f"{grid.scale.size} scales, one for each channel: a sum over channels mixes them",
                     "use one scale for each tensor, as `defakeq quantize` does")  # fmt: skip
    if not grid.whole_zero_point:
        state.cannot(node, "its zero point is no integer", f"round it; {state.remedy}")
    if grid.rounding not in ("ROUND", "HALF_EVEN"):
        state.cannot(node, f"it rounds by {grid.rounding}", "round to nearest")
    bits = int(grid.bits.max())
    if bits > _WIDEST_ACTIVATION:
        state.cannot(node, f"activations of {bits} bits: thresholds go up to {_WIDEST_ACTIVATION}",
                     f"quantize with --activation-bits {_WIDEST_ACTIVATION}")  # fmt: skip
    needed = smallest_type(grid.lowest, grid.highest)[0] if grid.whole_zero_point else bits
    if grid.zero_point.any() and needed > bits:
        zero = int(grid.zero_point.reshape(-1)[0])
        problem = f"activation zero point {zero}: {needed} bits instead of {bits}"
        state.says(node, "costs", problem, state.remedy, needed - bits)
    return Value("integers", float(grid.scale.reshape(-1)[0]))


def product(state: Walk, node: NodeProto) -> Value:
    """A convolution, or a product of matrices."""
    values = state.inputs(node)
    for value in values:
        if not value.is_integers:
            _unquantized(state, node, value)
    if weight_input(state.graph, node) is not None:
        _weights(state, node)
        _convolution(state, node)
    elif node.op_type == "Conv":
        state.cannot(node, "its weights depend on the image", "use fixed weights")
    return _SUMS


def _unquantized(state: Walk, node: NodeProto, value: Value) -> None:
    if value.kind == "mean":
        state.cannot(node, "it reads a pooling without a quantizer behind", f"put one there: {state.remedy}")
    else:
        state.cannot(node, "its input is not quantized", f"quantize with --activation-bits 8; {state.remedy}")


def _weights(state: Walk, node: NodeProto) -> None:
    weights = read_weights(state.graph, node)
    if weights.is_float:
        state.cannot(node, "weights, or restored channels, in float: FINN multiplies integers",
                     "let the layer be quantized; restored channels: mixed_channel_bits=8")  # fmt: skip
        return
    if weights.zero_point_bits > 0:
        width = weights.bits - weights.zero_point_bits
        state.says(node, "costs", f"weight zero points: {weights.bits} bits instead of {width}", state.remedy,
                   weights.zero_point_bits)  # fmt: skip
    readers = state.graph.readers(weight_input(state.graph, node))
    if len(readers) > 1 and readers[0] is node:
        state.says(node, "costs", f"its weights are used {len(readers)} times: a copy for each",
                   "nothing, if the device holds them")  # fmt: skip


def _convolution(state: Walk, node: NodeProto) -> None:
    if node.op_type != "Conv":
        return
    rank = len(state.graph.shapes.get(node.input[0], []))
    if rank != 4:
        state.cannot(node, f"a convolution over {rank - 2} dimension(s)", "use two-dimensional convolutions")
    elif is_grouped(state.graph, node):
        groups = attribute(node, "group")
        state.says(node, "costs", f"{groups} groups: built as a dense convolution, {groups} times the codes",
                   "use one group, or as many as there are channels")  # fmt: skip


def arithmetic(state: Walk, node: NodeProto) -> Value:
    """Add, Sub, Mul or Div."""
    values = state.inputs(node)
    if len(values) == 1:
        return _with_constant(state, node, values[0])
    if node.op_type in ("Mul", "Div"):
        state.cannot(node, *_gate(state, node))
        return _NUMBERS
    scales = {np.float32(value.scale) for value in values if value.is_integers}
    if not all(value.is_integers for value in values):
        state.cannot(
            node, "a sum whose operands are not all quantized", f"one quantizer for both: {state.remedy}"
        )
    elif len(scales) > 1:
        shown = " and ".join(f"{scale:.4g}" for scale in sorted(scales))
        problem = f"a sum whose operands have two scales, {shown}"
        state.cannot(node, problem, f"one quantizer for both: {state.remedy}")
    return Value("integers", values[0].scale)


def _with_constant(state: Walk, node: NodeProto, value: Value) -> Value:
    number = next(
        (state.graph.constants[name] for name in node.input if state.graph.is_constant(name)), np.zeros(2)
    )
    if node.op_type == "Mul" and value.is_integers and number.size == 1 and float(number.item()) > 0:
        return Value("integers", value.scale * float(number.item()))
    if value.kind in ("function", "mean") and number.size > 1:
        what = "an activation function" if value.kind == "function" else "a pooling"
        state.cannot(node, f"arithmetic for each channel between {what} and its quantizer",
                     "put it before the function, or into the next layer's weights")  # fmt: skip
    return _SUMS if value.is_integers else value


def _gate(state: Walk, node: NodeProto) -> tuple[str, str]:
    """What a product of two values of the image is, and what to do."""
    makers = [state.graph.maker(name) for name in node.input]
    for maker, other in zip(makers, reversed(node.input), strict=True):
        if maker is not None and maker.op_type in ("Sigmoid", "HardSigmoid"):
            if maker.input[0] == other:
                return "SiLU (Swish): x times its sigmoid is no step function", "use a network with ReLU"
            return "a sigmoid gate (squeeze and excitation)", "use a network without such gates"
    return "a product of two values of the image", "use a network without gates"


def function(state: Walk, node: NodeProto) -> Value:
    """An activation function that rises: part of its quantizer."""
    if not is_function(state.graph, node):
        return unknown(state, node)
    return Value("function")


def pooling(state: Walk, node: NodeProto) -> Value:
    """MaxPool, AveragePool or a mean."""
    (value,) = state.inputs(node)
    if not value.is_integers:
        state.cannot(
            node, "it pools values that are not quantized", f"put a quantizer before it: {state.remedy}"
        )
    if node.op_type == "MaxPool":
        _max_pool(state, node)
        return value
    if node.op_type == "ReduceMean":
        state.cannot(node, "a mean over tokens: FINN sums over height and width only",
                     "use the class token (for timm: --model-arg global_pool=token)")  # fmt: skip
    elif node.op_type == "AveragePool":
        state.cannot(node, "its windows do not all hold the same number of values",
                     "use count_include_pad=True, no ceil_mode")  # fmt: skip
    return Value("mean")


def _max_pool(state: Walk, node: NodeProto) -> None:
    kernel, strides = attribute(node, "kernel_shape"), attribute(node, "strides")
    if len(kernel) != 2 or any(size < step for size, step in zip(kernel, strides, strict=True)):
        problem = f"a window of {kernel} in steps of {strides}"
        state.cannot(node, problem, "use a window no smaller than the step")
    if attribute(node, "ceil_mode", 0) or set(attribute(node, "dilations", [1])) != {1}:
        state.cannot(node, "it rounds its size up, or has a dilation", "use ceil_mode=False and no dilation")


def versal(state: Walk, node: NodeProto) -> Value:
    """GELU, softmax, LayerNorm: floating-point layers that FINN has for Versal devices."""
    rank = len(state.graph.shapes.get(node.input[0], []))
    usual = {"Gelu": None, "Softmax": -1, "LayerNormalization": -1}[node.op_type]
    axis = attribute(node, "axis", usual)
    if usual is not None and axis % max(rank, 1) != rank - 1:
        state.cannot(node, f"it works along axis {axis}", "work along the last axis")
    state.says(node, "needs", "a floating-point layer: FINN has it for Versal devices", _VERSAL)
    return _NUMBERS


def concatenation(state: Walk, node: NodeProto) -> Value:
    """A Concat of values, perhaps with a constant such as a class token."""
    values = state.inputs(node)
    if len(values) > 1 and not same_scales(values):
        state.cannot(
            node, "it joins values that do not have one scale", f"one quantizer for all: {state.remedy}"
        )
    return values[0]


def same_scales(values: list[Value]) -> bool:
    return all(value.is_integers for value in values) and len({np.float32(v.scale) for v in values}) == 1


def moving(state: Walk, node: NodeProto) -> Value:
    """What only moves or picks values."""
    if len(state.graph.dynamic_inputs(node)) != 1:
        state.cannot(node, "it picks places that depend on the image", "pick fixed places")
    return state.inputs(node)[0]


def padding(state: Walk, node: NodeProto) -> Value:
    """Zeros around a map that no convolution takes over."""
    (value,) = state.inputs(node)
    if spatial_padding(state.graph, node) is None:
        state.cannot(node, "it pads with something else than zeros, or not height and width", "use zeros")
    elif not value.is_integers:
        state.cannot(
            node, "it pads values that are not quantized", f"put a quantizer before it: {state.remedy}"
        )
    return value


def affine(state: Walk, node: NodeProto) -> Value:
    """A BatchNorm that was not folded: a factor and an offset for each channel."""
    return _with_constant(state, node, state.inputs(node)[0])


def unknown(state: Walk, node: NodeProto) -> Value:
    """Everything else."""
    change = _HINTS.get(node.op_type, "use a network without it, or keep that part off the device")
    state.cannot(node, f"FINN has no operator for {node.op_type}", change)
    return _NUMBERS


RULES: dict[str, Rule] = {
    "Quant": quantizer, "Conv": product, "MatMul": product, "Gemm": product,
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), arithmetic),
    **dict.fromkeys(("Relu", "Clip", "Sigmoid", "Tanh", "HardSigmoid", "Selu", "Softplus", "Softsign",
                     "LeakyRelu", "Elu", "Celu"), function),
    **dict.fromkeys(("MaxPool", "AveragePool", "GlobalAveragePool", "ReduceMean"), pooling),
    **dict.fromkeys(("Gelu", "Softmax", "LayerNormalization"), versal),
    **dict.fromkeys((*MOVES, "Gather", "Split"), moving),
    "Concat": concatenation, "Pad": padding, "BatchNormalization": affine,
}  # fmt: skip
