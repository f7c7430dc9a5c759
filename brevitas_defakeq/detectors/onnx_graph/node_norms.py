"""Nodes that normalize."""

import numpy as np

from brevitas_defakeq.detectors.onnx_graph.converter import Node
from brevitas_defakeq.detectors.onnx_graph.node_layers import tensor, weight_name


def batch_norm(node: Node) -> None:
    gain, shift, mean, variance = (tensor(node.array(position)) for position in range(1, 5))
    dims = max(len(node.data(0).shape) - 2, 1)
    tensors = {"weight": gain, "bias": shift, "running_mean": mean, "running_var": variance}
    options = {"num_features": len(gain), "eps": float(node.attribute("epsilon", 1e-5))}
    node.module(f"BatchNorm{dims}d", options, tensors=tensors, hint=weight_name(node))


def layer_norm(node: Node) -> None:
    x = node.data(0)
    axis = node.axis(node.attribute("axis", -1))
    shape, gain = list(x.shape[axis:]), node.array(1)
    bias = node.array(2, np.zeros(shape, np.float32))
    tensors = {"weight": tensor(np.broadcast_to(gain, shape)), "bias": tensor(np.broadcast_to(bias, shape))}
    options = {"normalized_shape": shape, "eps": float(node.attribute("epsilon", 1e-5))}
    node.module("LayerNorm", options, tensors=tensors, hint=weight_name(node))


def rms_norm(node: Node) -> None:
    axis = node.axis(node.attribute("axis", -1))
    shape = list(node.data(0).shape[axis:])
    options = {"normalized_shape": shape, "eps": float(node.attribute("epsilon", 1e-5))}
    gain = tensor(np.broadcast_to(node.array(1), shape))
    node.module("RMSNorm", options, tensors={"weight": gain}, hint=weight_name(node))


def instance_norm(node: Node) -> None:
    gain, shift, channels = node.array(1), node.array(2), node.data(0).shape[1]
    options = {
        "num_groups": channels,
        "num_channels": channels,
        "eps": float(node.attribute("epsilon", 1e-5)),
    }
    tensors = {"weight": tensor(gain), "bias": tensor(shift)}
    node.module("GroupNorm", options, tensors=tensors, hint=weight_name(node))


def group_norm(node: Node) -> None:
    groups, channels = int(node.attribute("num_groups", 1)), node.data(0).shape[1]
    gain, shift = (
        np.repeat(values, channels // len(values)) for values in (node.array(1), node.array(2))
    )  # opset 18 has one number a group
    options = {"num_groups": groups, "num_channels": channels, "eps": float(node.attribute("epsilon", 1e-5))}
    tensors = {"weight": tensor(gain), "bias": tensor(shift)}
    node.module("GroupNorm", options, tensors=tensors, hint=weight_name(node))
