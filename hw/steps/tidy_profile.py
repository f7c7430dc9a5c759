"""Step "tidy": infer shapes and types, fold constants, replace operators that FINN has no layer for."""

import numpy as np
from onnx import NodeProto
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.batchnorm_to_affine import BatchNormToAffine
from qonnx.transformation.fold_constants import FoldConstants
from qonnx.transformation.general import ConvertDivToMul, ConvertSubToAdd, RemoveStaticGraphInputs
from qonnx.transformation.infer_shapes import InferShapes

from hw.steps.fixpoint import NodeRewrite, apply_passes, refresh_names_and_types
from hw.steps.graph_edits import insert_before, new_constant, new_tensor

#: Consumers of a quantized constant past which FINN moves its scale.
_WEIGHT_CONSUMERS = ("Conv", "MatMul", "Gemm", "ConvTranspose", "Transpose")


def tidy_profile(model: ModelWrapper) -> ModelWrapper:
    """The profile, ready for FINN's conversion."""
    passes = (
        InferShapes(), FoldConstants(), NodeRewrite(_fold_quantized_constant), FoldConstants(),
        BatchNormToAffine(), RemoveStaticGraphInputs(), ConvertSubToAdd(), ConvertDivToMul(),
        NodeRewrite(_mean_as_pooling), NodeRewrite(_average_as_convolution),
    )  # fmt: skip
    return refresh_names_and_types(apply_passes(model, passes))


def _fold_quantized_constant(model: ModelWrapper, node: NodeProto) -> bool:
    """Replace a quantized class token or position embedding by its values; FINN folds weights only."""
    if node.op_type != "Quant" or any(model.get_initializer(name) is None for name in node.input):
        return False
    if any(consumer.op_type in _WEIGHT_CONSUMERS for consumer in model.find_consumers(node.output[0])):
        return False
    values = {name: model.get_initializer(name) for name in node.input}
    values[node.output[0]] = np.zeros_like(values[node.input[0]])
    getCustomOp(node).execute_node(values, model.graph)
    model.graph.node.remove(node)
    model.set_initializer(node.output[0], values[node.output[0]])
    return True


def _mean_as_pooling(model: ModelWrapper, node: NodeProto) -> bool:
    """Turn a ReduceMean over height and width into the global pooling that FINN has a layer for."""
    if node.op_type != "ReduceMean" or len(model.get_tensor_shape(node.input[0])) != 4:
        return False
    attributes = {each.name: each for each in node.attribute}
    axes = attributes["axes"].ints if "axes" in attributes else model.get_initializer(node.input[1])
    if sorted(int(axis) % 4 for axis in axes) != [2, 3]:
        return False
    pooled = new_tensor(model, [*model.get_tensor_shape(node.input[0])[:2], 1, 1])
    insert_before(model, node, "GlobalAveragePool", (node.input[0],), (pooled,))
    shape = new_constant(model, np.array(model.get_tensor_shape(node.output[0]), np.int64))
    insert_before(model, node, "Reshape", (pooled, shape), (node.output[0],))
    model.graph.node.remove(node)
    return True


def _average_as_convolution(model: ModelWrapper, node: NodeProto) -> bool:
    """Turn average pooling into a depthwise convolution with ones, which is exact, and a scale.

    FINN's own average pooling truncates its result, which detectors are not trained with.
    """
    if node.op_type != "AveragePool":
        return False
    attributes = {each.name: each for each in node.attribute}
    kernel = list(attributes["kernel_shape"].ints)
    pads = list(attributes["pads"].ints) if "pads" in attributes else [0] * 4
    counted = not any(pads) or ("count_include_pad" in attributes and attributes["count_include_pad"].i == 1)
    ceiled = "ceil_mode" in attributes and attributes["ceil_mode"].i == 1
    if len(kernel) != 2 or not counted or ceiled:
        return False
    channels = model.get_tensor_shape(node.input[0])[1]
    strides = list(attributes["strides"].ints) if "strides" in attributes else [1, 1]
    ones = new_constant(model, np.ones((channels, 1, *kernel), np.float32))
    summed = new_tensor(model, model.get_tensor_shape(node.output[0]))
    insert_before(
        model, node, "Conv", (node.input[0], ones), (summed,), kernel_shape=kernel, strides=strides,
        pads=pads, group=channels, dilations=[1, 1],
    )  # fmt: skip
    share = new_constant(model, np.array(1.0 / np.prod(kernel), np.float32))
    insert_before(model, node, "Mul", (summed, share), (node.output[0],))
    model.graph.node.remove(node)
    return True
