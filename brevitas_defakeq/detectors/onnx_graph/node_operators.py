"""Every operator that can be converted, and what converts it."""

from typing import Any

import numpy as np
import torch
from onnx import TensorProto, helper

from brevitas_defakeq.detectors.onnx_graph import node_layers, node_norms, node_shapes
from brevitas_defakeq.detectors.onnx_graph.converter import Handler, Node, Value
from brevitas_defakeq.detectors.onnx_graph.node_attention import attention
from brevitas_defakeq.detectors.onnx_graph.node_layers import number_of, padding_of, torch_pads
from brevitas_defakeq.detectors.onnx_graph.node_resize import resize
from brevitas_defakeq.detectors.onnx_graph.node_sequences import SEQUENCES


def _module(kind: str, **attributes: tuple[str, Any]) -> Handler:
    """A module of one input: keyword -> (ONNX attribute, its default)."""

    def convert(node: Node) -> None:
        options = {key: node.attribute(name, default) for key, (name, default) in attributes.items()}
        node.module(kind, options)

    return convert


def _function(name: str) -> Handler:
    def convert(node: Node) -> None:
        node.function(name, [number_of(node, position) for position in range(len(node.inputs))])

    return convert


def _tensors(name: str) -> Handler:
    """A function of tensors alone."""

    def convert(node: Node) -> None:
        node.function(name, [node.data(position) for position in range(len(node.inputs))])

    return convert


def _same(node: Node) -> None:
    node.alias(node.data(0))


def _cast(node: Node) -> None:
    x = node.data(0)
    wanted = node.attribute("to", TensorProto.FLOAT)
    dtype = torch.from_numpy(np.zeros(1, helper.tensor_dtype_to_np_dtype(wanted))).dtype
    _to(node, x, dtype)


def _cast_like(node: Node) -> None:
    x, like = node.data(0), node.data(1)
    dtype = torch.from_numpy(like.constant).dtype if like.constant is not None else like.examples[0].dtype
    if x.constant is None:
        _to(node, x, dtype)
    else:
        values = torch.from_numpy(x.constant).to(dtype).numpy()
        node.graph.values[node.outputs[0]] = Value(node.outputs[0], values, source=x.source)


def _to(node: Node, x: Value, dtype: torch.dtype) -> None:
    if x.examples[0].dtype == dtype:
        node.alias(x)
    else:
        node.function("to", [x], dtype=str(dtype).removeprefix("torch."))


def _clip(node: Node) -> None:
    bounds = []
    for position, name in ((1, "min"), (2, "max")):
        given = node.array(position)
        bound = node.attribute(name, None) if given is None else float(np.reshape(given, -1)[0])
        bounds.append(None if bound is None or abs(bound) >= 3e38 else bound)
    low, high = bounds
    if (low, high) == (0, None):
        node.module("ReLU")
    elif (low, high) == (0, 6):
        node.module("ReLU6")
    elif low is not None and high is not None:
        node.module("Hardtanh", {"min_val": low, "max_val": high})
    elif low is None and high is None:
        node.alias(node.data(0))
    else:
        node.function("clamp", [node.data(0)], low=low, high=high)


def _softmax(kind: str) -> Handler:
    def convert(node: Node) -> None:
        newer = node.opset >= 13
        axis = node.axis(node.attribute("axis", -1 if newer else 1))
        rank = len(node.data(0).shape)
        if newer or axis == rank - 1:
            node.module(kind, {"dim": -1 if axis == rank - 1 else axis})
        elif kind == "Softmax":
            node.function("flat_softmax", [node.data(0)], axis=axis)
        else:
            node.refuse("it spans several axes")

    return convert


def _gelu(node: Node) -> None:
    node.module("GELU", {"approximate": node.attribute("approximate", "none")})


def _hard_sigmoid(node: Node) -> None:
    alpha, beta = float(node.attribute("alpha", 0.2)), float(node.attribute("beta", 0.5))
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        node.module("Hardsigmoid")
    else:
        node.function("hard_sigmoid", [node.data(0)], alpha=alpha, beta=beta)


def _swish(node: Node) -> None:
    if node.attribute("alpha", 1.0) != 1.0:
        node.refuse("its alpha is not 1")
    node.module("SiLU")


def _prelu(node: Node) -> None:
    slope = node.array(1).reshape(-1)
    options = {"num_parameters": len(slope)}
    node.module(
        "PReLU", options, tensors={"weight": node_layers.tensor(slope)}, hint=node_layers.weight_name(node)
    )


def _reduce(function: str) -> Handler:
    def convert(node: Node) -> None:
        x = node.data(0)
        axes = node.integers("axes", 1)
        if not axes and node.attribute("noop_with_empty_axes", 0):
            node.alias(x)
            return
        axes = [node.axis(axis) for axis in axes] if axes else list(range(len(x.shape)))
        if x.batch_axis in axes:
            node.refuse("it mixes the images of a batch")
        node.function(function, [x], axes=axes, keepdim=bool(node.attribute("keepdims", 1)))

    return convert


def _global_pool(kind: str) -> Handler:
    def convert(node: Node) -> None:
        rank = len(node.data(0).shape) - 2
        node.module(f"{kind}{rank}d", {"output_size": [1] * rank})

    return convert


def _average_pool(node: Node) -> None:
    kernel = list(node.attribute("kernel_shape", []))
    strides = list(node.attribute("strides", [1] * len(kernel)))
    ceil, counted = bool(node.attribute("ceil_mode", 0)), bool(node.attribute("count_include_pad", 0))
    if any(step != 1 for step in node.attribute("dilations", [1])):
        node.refuse("its window is dilated")
    before, after = padding_of(node, kernel, strides, [1] * len(kernel))
    window: dict[str, Any] = {"kernel_size": kernel, "stride": strides, "ceil_mode": ceil}
    if before == after:
        options = {**window, "padding": before, "count_include_pad": counted}
        node.module(f"AvgPool{len(kernel)}d", options)
    elif counted:
        padded = node.function(
            "pad", [node.data(0)], node.temporary("padded"), pads=torch_pads(before, after), mode="constant"
        )
        node.graph.emit(node, f"AvgPool{len(kernel)}d", [padded], window)
    else:
        node.function("average_pool", [node.data(0)], pads=torch_pads(before, after), **window)


def _max_pool(node: Node) -> None:
    kernel = list(node.attribute("kernel_shape", []))
    strides = list(node.attribute("strides", [1] * len(kernel)))
    dilations = list(node.attribute("dilations", [1] * len(kernel)))
    before, after = padding_of(node, kernel, strides, dilations)
    ceil = bool(node.attribute("ceil_mode", 0))
    options = {"kernel_size": kernel, "stride": strides, "dilation": dilations, "ceil_mode": ceil}
    x = node.data(0)
    if before == after:
        options["padding"] = before
    else:
        x = node.function(
            "pad", [x], node.temporary("padded"), pads=torch_pads(before, after), mode="constant",
            value=float(np.finfo(np.float32).min),
        )  # fmt: skip
    node.graph.emit(node, f"MaxPool{len(kernel)}d", [x], options)


def _lp_normalization(node: Node) -> None:
    axis, order = node.axis(node.attribute("axis", -1)), int(node.attribute("p", 2))
    node.function("normalize", [node.data(0)], order=order, axis=axis)


def _local_response(node: Node) -> None:
    options = {"alpha": 1e-4, "beta": 0.75, "bias": 1.0}
    alpha, beta, bias = (float(node.attribute(name, default)) for name, default in options.items())
    size = int(node.attribute("size", 1))
    node.function("local_response_norm", [node.data(0)], size=size, alpha=alpha, beta=beta, k=bias)


def _einsum(node: Node) -> None:
    values: list[Value | float] = [value for value in node.inputs if value is not None]
    node.function("einsum", values, equation=node.attribute("equation", ""))


def _cumsum(node: Node) -> None:
    if node.attribute("exclusive", 0) or node.attribute("reverse", 0):
        node.refuse("it is exclusive or reversed")
    node.function("cumsum", [node.data(0)], axis=node.axis(int(np.reshape(node.array(1), -1)[0])))


def _argmax(node: Node) -> None:
    axis, kept = node.axis(node.attribute("axis", 0)), bool(node.attribute("keepdims", 1))
    node.function("argmax", [node.data(0)], axis=axis, keepdim=kept)


HANDLERS: dict[str, Handler] = {
    **SEQUENCES,
    "Conv": node_layers.convolution,
    "ConvTranspose": node_layers.transposed_convolution,
    "MatMul": node_layers.product,
    "Gemm": node_layers.general_product,
    "BatchNormalization": node_norms.batch_norm,
    "LayerNormalization": node_norms.layer_norm,
    "RMSNormalization": node_norms.rms_norm,
    "InstanceNormalization": node_norms.instance_norm,
    "GroupNormalization": node_norms.group_norm,
    "Attention": attention,
    "Add": node_layers.addition,
    "Mul": node_layers.multiplication,
    "Reshape": node_shapes.reshape,
    "Flatten": node_shapes.flatten,
    "Transpose": node_shapes.transpose,
    "Squeeze": node_shapes.squeeze,
    "Unsqueeze": node_shapes.unsqueeze,
    "Expand": node_shapes.expand,
    "Tile": node_shapes.tile,
    "Concat": node_shapes.concat,
    "Split": node_shapes.split,
    "Slice": node_shapes.slices,
    "Gather": node_shapes.gather,
    "GatherElements": node_shapes.gather_elements,
    "Pad": node_shapes.pad,
    "DepthToSpace": node_shapes.depth_to_space,
    "SpaceToDepth": node_shapes.space_to_depth,
    "Resize": resize,
    "Upsample": resize,
    "Identity": _same,
    "Dropout": _same,
    "Cast": _cast,
    "CastLike": _cast_like,
    "Relu": _module("ReLU"),
    "LeakyRelu": _module("LeakyReLU", negative_slope=("alpha", 0.01)),
    "PRelu": _prelu,
    "Elu": _module("ELU", alpha=("alpha", 1.0)),
    "Selu": _module("SELU"),
    "Celu": _module("CELU", alpha=("alpha", 1.0)),
    "Sigmoid": _module("Sigmoid"),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _module("Hardswish"),
    "Swish": _swish,
    "Tanh": _module("Tanh"),
    "Softplus": _module("Softplus"),
    "Softsign": _module("Softsign"),
    "Mish": _module("Mish"),
    "Gelu": _gelu,
    "Clip": _clip,
    "Softmax": _softmax("Softmax"),
    "LogSoftmax": _softmax("LogSoftmax"),
    "GlobalAveragePool": _global_pool("AdaptiveAvgPool"),
    "GlobalMaxPool": _global_pool("AdaptiveMaxPool"),
    "AveragePool": _average_pool,
    "MaxPool": _max_pool,
    "LpNormalization": _lp_normalization,
    "LRN": _local_response,
    "Einsum": _einsum,
    "CumSum": _cumsum,
    "ArgMax": _argmax,
    "Sub": _function("sub"),
    "Div": _function("div"),
    "Pow": _function("pow"),
    "Max": _function("maximum"),
    "Min": _function("minimum"),
    "Sum": _function("sum_all"),
    "Mean": _function("mean_all"),
    "Where": _function("where"),
    **{
        f"Reduce{name}": _reduce(function)
        for name, function in {
            "Mean": "mean", "Sum": "sum", "Max": "amax", "Min": "amin", "Prod": "prod", "L1": "l1",
            "L2": "l2", "SumSquare": "sum_square", "LogSumExp": "logsumexp",
        }.items()
    },
    **{
        name: _tensors(function)
        for name, function in {
            "Exp": "exp", "Log": "log", "Sqrt": "sqrt", "Reciprocal": "reciprocal", "Neg": "neg",
            "Abs": "abs", "Sin": "sin", "Cos": "cos", "Erf": "erf", "Floor": "floor", "Ceil": "ceil",
            "Round": "round",
            "Sign": "sign", "IsNaN": "isnan", "Not": "logical_not", "And": "logical_and", "Or": "logical_or",
        }.items()
    },
    **{
        name: _function(function)
        for name, function in {
            "Equal": "eq", "Greater": "gt", "Less": "lt", "GreaterOrEqual": "ge", "LessOrEqual": "le",
        }.items()
    },
}  # fmt: skip
