"""Nodes with weights: convolutions, matrix products, norms, and the additions that are their biases."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from brevitas_defakeq.detectors.onnx_graph.converter import Node, Value
from brevitas_defakeq.detectors.onnx_graph.program import Step


def tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(values, np.float32))


def convolution(node: Node) -> None:
    x, weight = node.data(0), node.data(1)
    rank = len(weight.shape) - 2
    strides = list(node.attribute("strides", [1] * rank))
    dilations = list(node.attribute("dilations", [1] * rank))
    group = int(node.attribute("group", 1))
    before, after = padding_of(node, list(weight.shape[2:]), strides, dilations)
    x, before, after = _with_pad(node, x, before, after)
    biased = node.has(2)
    if weight.constant is None or (biased and node.data(2).constant is None):
        x = node.function(
            "pad", [x], node.temporary("padded"), pads=torch_pads(before, after), mode="constant"
        )
        operands: list[Value | float] = [x, weight, *([node.data(2)] if biased else [])]
        node.function("convolution", operands, stride=strides, dilation=dilations, groups=group)
        return
    tensors = {"weight": tensor(weight.constant)}
    if biased:
        tensors["bias"] = tensor(node.array(2))
    options: dict[str, Any] = {
        "in_channels": weight.shape[1] * group, "out_channels": weight.shape[0],
        "kernel_size": list(weight.shape[2:]), "stride": strides, "dilation": dilations, "groups": group,
        "bias": biased,
    }  # fmt: skip
    kind = f"Conv{rank}d"
    if before == after:
        options["padding"] = before
    elif rank == 2:
        kind, options["static_padding"] = "PaddedConv2d", torch_pads(before, after)
    else:
        x = node.function(
            "pad", [x], node.temporary("padded"), pads=torch_pads(before, after), mode="constant"
        )
    node.graph.emit(node, kind, [x], options, tensors=tensors, hint=weight_name(node))


def _with_pad(
    node: Node, x: Value, before: list[int], after: list[int]
) -> tuple[Value, list[int], list[int]]:
    """A Pad with zeros before a convolution becomes part of the convolution."""
    maker = node.graph.makers.get(x.name)
    attributes = maker.options.get("attributes", {}) if maker is not None else {}
    pads = attributes.get("pads", [])
    zeros = attributes.get("mode") == "constant" and attributes.get("value") == 0
    if maker is None or not zeros or len(pads) > 2 * len(before) or node.graph.readers[x.name] != 1:
        return x, before, after
    pads = [*pads, *[0] * (2 * len(before) - len(pads))]
    before = [side + more for side, more in zip(before, pads[-2::-2], strict=True)]
    after = [side + more for side, more in zip(after, pads[::-2], strict=True)]
    node.graph.readers[maker.values[0]] += 1
    return node.graph.values[maker.values[0]], before, after


def weight_name(node: Node) -> str:
    """The name of the weight, or of the bias where the weight has been computed."""
    names = [value.source for value in node.inputs[1:3] if value is not None]
    return next(filter(None, names), "")


def padding_of(
    node: Node, kernel: list[int], strides: list[int], dilations: list[int]
) -> tuple[list[int], list[int]]:
    """Zeros before and after, for each spatial axis."""
    mode, rank = node.attribute("auto_pad", "NOTSET"), len(kernel)
    if mode in ("NOTSET", ""):
        pads = list(node.attribute("pads", [0] * 2 * rank))
        return pads[:rank], pads[rank:]
    if mode == "VALID":
        return [0] * rank, [0] * rank
    sides = node.data(0).shape[2:]
    total = [
        max((-(-side // stride) - 1) * stride + (size - 1) * dilation + 1 - side, 0)
        for side, size, stride, dilation in zip(sides, kernel, strides, dilations, strict=True)
    ]
    smaller, larger = [size // 2 for size in total], [size - size // 2 for size in total]
    return (smaller, larger) if mode == "SAME_UPPER" else (larger, smaller)


def torch_pads(before: list[int], after: list[int]) -> list[int]:
    """Torch counts paddings from the last axis."""
    return [side for pair in zip(reversed(before), reversed(after), strict=True) for side in pair]


def transposed_convolution(node: Node) -> None:
    """Where more is cut off on one side than on the other, a slice cuts off the rest."""
    weight = node.array(1)
    rank, group = weight.ndim - 2, int(node.attribute("group", 1))
    before, after, added = _cut_off(node, weight.shape[2:])
    common = [min(pair) for pair in zip(before, after, strict=True)]
    even = before == after
    biased = node.has(2)
    options = {
        "in_channels": weight.shape[0], "out_channels": weight.shape[1] * group,
        "kernel_size": list(weight.shape[2:]), "stride": list(node.attribute("strides", [1] * rank)),
        "padding": common, "output_padding": added, "groups": group, "bias": biased,
        "dilation": list(node.attribute("dilations", [1] * rank)),
    }  # fmt: skip
    tensors = {"weight": tensor(weight), **({"bias": tensor(node.array(2))} if biased else {})}
    outputs = None if even else node.temporary("whole")
    whole = node.module(
        f"ConvTranspose{rank}d", options, tensors=tensors, hint=weight_name(node), outputs=outputs
    )
    if even:
        return
    starts = [side - shared for side, shared in zip(before, common, strict=True)]
    stops = [side - more + shared for side, more, shared in zip(whole.shape[2:], after, common, strict=True)]
    axes = list(range(2, 2 + rank))
    node.function("slice", [whole], axes=axes, starts=starts, stops=stops, steps=[1] * rank)


def _cut_off(node: Node, kernel: tuple[int, ...]) -> tuple[list[int], list[int], list[int]]:
    """What is cut off before and after, and what is added after, for each spatial axis of a ConvTranspose."""
    rank, mode = len(kernel), node.attribute("auto_pad", "NOTSET")
    pads = list(node.attribute("pads", [0] * 2 * rank))
    added = list(node.attribute("output_padding", [0] * rank))
    sides, strides = node.data(0).shape[2:], node.attribute("strides", [1] * rank)
    wanted = node.attribute("output_shape", None)
    if wanted is None and mode in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [side * stride for side, stride in zip(sides, strides, strict=True)]
    if wanted is None:
        return pads[:rank], pads[rank:], added
    total = [
        stride * (side - 1) + more + (size - 1) * dilation + 1 - out
        for side, stride, more, size, dilation, out in zip(
            sides, strides, added, kernel, node.attribute("dilations", [1] * rank), wanted[-rank:],
            strict=True,
        )
    ]  # fmt: skip
    if min(total) < 0:
        node.refuse("its output is larger than what it computes")
    smaller, larger = [size // 2 for size in total], [size - size // 2 for size in total]
    return (smaller, larger, added) if mode == "SAME_UPPER" else (larger, smaller, added)


def product(node: Node) -> None:
    """MatMul: a Linear where the second operand is a constant matrix."""
    x, weight = node.data(0), node.data(1)
    if weight.constant is None or weight.constant.ndim != 2:
        node.function("matmul", [x, weight])
        return
    rows, columns = weight.shape
    options = {"in_features": rows, "out_features": columns, "bias": False}
    hint = weight_name(node) or _bias_name(node)
    node.module("Linear", options, tensors={"weight": tensor(weight.constant.T)}, hint=hint)


def _bias_name(node: Node) -> str:
    """The name of the constant that is added next: an exporter that turns a weight drops its name."""
    reader = node.graph.nodes.get(node.outputs[0])
    if reader is None or reader.op_type != "Add":
        return ""
    others = [node.graph.values.get(name) for name in reader.input if name != node.outputs[0]]
    return next((value.source for value in others if value is not None and value.constant is not None), "")


def general_product(node: Node) -> None:
    """Gemm: alpha A B + beta C."""
    weight, beta = node.data(1), float(node.attribute("beta", 1.0))
    alpha = float(node.attribute("alpha", 1.0))
    if weight.constant is None or node.attribute("transA", 0):
        _open_product(node, alpha, beta)
        return
    matrix = weight.constant if node.attribute("transB", 0) else weight.constant.T
    tensors = {"weight": tensor(matrix * np.float32(alpha))}
    bias = node.data(2).constant if node.has(2) else None
    fits = bias is not None and bias.size in (1, matrix.shape[0])
    if fits and bias is not None:
        tensors["bias"] = tensor(np.broadcast_to(bias.reshape(-1), matrix.shape[:1]) * np.float32(beta))
    options = {"in_features": matrix.shape[1], "out_features": matrix.shape[0], "bias": fits}
    hint = weight_name(node)
    if not node.has(2) or fits:
        node.module("Linear", options, tensors=tensors, hint=hint)
        return
    made = node.module("Linear", options, tensors=tensors, hint=hint, outputs=node.temporary("product"))
    node.function("add", [made, _times(node, node.data(2), beta, "summand")])


def _open_product(node: Node, alpha: float, beta: float) -> None:
    """A product of two values that depend on the image, or of a turned one."""
    operands = []
    for position, name in enumerate(("transA", "transB")):
        value = node.data(position)
        if node.attribute(name, 0):
            value = node.function("permute", [value], node.temporary(name), axes=[1, 0])
        operands.append(value)
    last = node.outputs[:1] if alpha == 1 and not node.has(2) else node.temporary("product")
    made = node.function("matmul", [*operands], last)
    if alpha != 1:
        made = node.function("mul", [made, alpha], None if not node.has(2) else node.temporary("scaled"))
    if node.has(2):
        node.function("add", [made, _times(node, node.data(2), beta, "summand")])


def _times(node: Node, value: Value, factor: float, suffix: str) -> Value:
    if factor == 1:
        return value
    if value.constant is not None:
        return Value(value.name, value.constant * np.float32(factor))
    return node.function("mul", [value, factor], node.temporary(suffix))


def addition(node: Node) -> None:
    """Add: the bias of the layer before it, or a sum."""
    for x, other in ((node.data(0), node.data(1)), (node.data(1), node.data(0))):
        layer = _own_layer(node, x)
        if layer is not None and other.constant is not None:
            bias = _by_channel(layer, other.constant, len(x.shape))
            if bias is not None:
                layer.tensors["bias"] = layer.tensors.get("bias", torch.zeros(len(bias))) + bias
                layer.options["bias"] = True
                _renamed(node, layer)
                return
    node.function("add", _operands(node))


def multiplication(node: Node) -> None:
    """Mul: a BatchNorm's gain behind a convolution (an addition by channel follows), or a product."""
    for x, other in ((node.data(0), node.data(1)), (node.data(1), node.data(0))):
        layer = _own_layer(node, x)
        if (
            layer is not None
            and other.constant is not None
            and (_is_unscaled(node, layer) or _is_norm(node, layer))
        ):
            single = other.constant.size == 1 and _is_unscaled(node, layer)
            gain = (
                tensor(other.constant.reshape(-1))
                if single
                else _by_channel(layer, other.constant, len(x.shape))
            )
            if gain is not None:
                weight = layer.tensors["weight"]
                layer.tensors["weight"] = weight * gain.view(-1, *[1] * (weight.dim() - 1))
                if "bias" in layer.tensors:
                    layer.tensors["bias"] = layer.tensors["bias"] * gain
                _renamed(node, layer)
                return
    node.function("mul", _operands(node))


def _is_unscaled(node: Node, layer: Step) -> bool:
    """Whether the layer's weights are still integers."""
    return layer.name in node.graph.unscaled


def _is_norm(node: Node, layer: Step) -> bool:
    """Whether the product is the first half of a BatchNorm behind a convolution."""
    if layer.kind == "Linear":
        return False
    reader = node.graph.nodes.get(node.outputs[0])
    if reader is None or reader.op_type not in ("Add", "Sub") or node.graph.readers[node.outputs[0]] != 1:
        return False
    others = [node.graph.values.get(name) for name in reader.input if name != node.outputs[0]]
    return all(value is not None and value.constant is not None for value in others)


def _own_layer(node: Node, value: Value) -> Step | None:
    """The layer that makes a value which this node alone reads."""
    step = node.graph.makers.get(value.name)
    alone = node.graph.readers[value.name] == 1
    return step if step is not None and alone and "weight" in step.tensors and _is_layer(step) else None


def _is_layer(step: Step) -> bool:
    return step.kind.startswith(("Conv1", "Conv2", "Conv3", "Linear", "PaddedConv"))


def _by_channel(layer: Step, constant: np.ndarray, rank: int) -> Tensor | None:
    """A constant with one number an output channel, [C]; None for any other."""
    channels = len(layer.tensors["weight"])
    axis = rank - 1 if layer.kind == "Linear" else 1
    shape = (*[1] * (rank - constant.ndim), *constant.shape)
    if (
        len(shape) != rank
        or channels < 2
        or any(size != (channels if at == axis else 1) for at, size in enumerate(shape))
    ):
        return None
    return tensor(constant.reshape(-1))


def _renamed(node: Node, layer: Step) -> None:
    """The layer makes the node's value now."""
    layer.outputs = node.outputs[:1]
    node.graph.run(layer)


def _operands(node: Node) -> list[Value | float]:
    """Both operands; a constant of one element as a number."""
    return [number_of(node, position) for position in range(2)]


def number_of(node: Node, position: int) -> Value | float:
    """An operand; a floating-point constant of one element as a number."""
    value = node.data(position)
    constant = value.constant
    ranks = [len(other.shape) for other in node.inputs if other is not None and other.constant is None]
    if constant is None or constant.size != 1 or constant.ndim > max(ranks, default=0):
        return value
    if not np.issubdtype(constant.dtype, np.floating) or not np.isfinite(constant).all():
        return value
    return float(constant.reshape(-1)[0])
