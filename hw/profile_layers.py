"""The layers of a FINN profile by their torch names, and the nodes of a hardware graph that they became."""

from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np
from onnx import NodeProto, helper
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from brevitas_defakeq.utils.errors import UserError

#: FINN's layers that multiply by weights, without the suffix of the implementation.
PRODUCT_OPS = ("MVAU", "VVAU")


@dataclass(frozen=True)
class ProfileLayer:
    """A convolution or linear layer.

    Attributes:
        name: of the torch layer; with suffix ``.q``, ``.k``, ``.v`` in an attention, ``.2`` for a second
            call.
        weight_shape: [C_out, C_in, ...], as in torch.
        integers: its weights, sorted, float32 [n].
        zero_point_bits: 1 if zero points folded into the weights add a bit to its width, else 0.
    """

    name: str
    weight_shape: tuple[int, ...]
    integers: np.ndarray
    zero_point_bits: int


def profile_layers(model: ModelWrapper) -> list[ProfileLayer]:
    """Every layer with constant weights, in graph order, except pooling expressed as convolution."""
    found = []
    for node in model.graph.node:
        for index, name in enumerate(node.input[:2]):
            quant = model.find_producer(name)
            if node.op_type not in ("Conv", "MatMul", "Gemm") or quant is None or quant.op_type != "Quant":
                continue
            values = model.get_initializer(quant.input[0])
            if values is not None:
                found.append(
                    _layer(model, node, quant, values, transposed=node.op_type == "MatMul" and index == 1)
                )
    return [layer for layer in found if layer.integers[0] != layer.integers[-1]]


def _layer(
    model: ModelWrapper, node: NodeProto, quant: NodeProto, values: np.ndarray, *, transposed: bool
) -> ProfileLayer:
    settings = {item.name: helper.get_attribute_value(item) for item in quant.attribute}
    integers = np.round(values / model.get_initializer(quant.input[1]))
    shape = values.shape[::-1] if transposed else values.shape
    return ProfileLayer(
        node.name, tuple(map(int, shape)), np.sort(integers.ravel()).astype(np.float32),
        # only weights that never had zero points are narrow
        zero_point_bits=0 if settings.get("narrow", 0) else 1,
    )  # fmt: skip


def match_products(model: ModelWrapper, layers: list[ProfileLayer]) -> dict[str, ProfileLayer]:
    """Node of a hardware graph -> the layer whose weights it holds, matched by the weights themselves.

    Layers with equal weights are matched in graph order. Raises UserError for a layer without a node.
    """
    waiting = defaultdict(list)
    for node in model.graph.node:
        weights = product_weights(model, node)
        if weights is not None:
            waiting[np.sort(weights.ravel()).astype(np.float32).tobytes()].append(node.name)
    found = {}
    for layer in layers:
        candidates = waiting[layer.integers.tobytes()]
        if not candidates:
            raise UserError(f"layer {layer.name} has no node with its weights in FINN's graph")
        found[candidates.pop(0)] = layer
    return found


def product_weights(model: ModelWrapper, node: NodeProto) -> np.ndarray | None:
    """The constant weights of a product; None for other nodes and products of two activations."""
    return model.get_initializer(node.input[1]) if node.op_type.startswith(PRODUCT_OPS) else None


def owning_layers(model: ModelWrapper, products: dict[str, ProfileLayer]) -> dict[str, str]:
    """Tensor -> the layer whose width determines its node's cost: from a product to its thresholds.

    A node after two products belongs to the first; one before all products or after thresholds to none.
    """
    found: dict[str, str] = {}
    for node in model.graph.node:  # sorted: producers first
        if node.name in products:
            found[node.output[0]] = products[node.name].name
            continue
        for name in node.input:
            producer = model.find_producer(name)
            if name in found and not producer.op_type.startswith("Thresholding"):
                found.setdefault(node.output[0], found[name])
    return found


def with_weight_width(
    model: ModelWrapper, products: dict[str, ProfileLayer], bits: int
) -> tuple[ModelWrapper, list[ProfileLayer]]:
    """A copy whose weights are scaled to the range of ``bits`` bits, plus those of zero points.

    The thresholds after them are scaled alike, as in a network quantized to that width.

    Args:
        model: a hardware graph.
        products: from ``match_products``.

    Returns:
        the copy and its layers.
    """
    from hw.steps.map_to_hardware import minimized

    changed = ModelWrapper(model.model, make_deepcopy=True)
    factors: dict[str, float] = {}
    layers: list[ProfileLayer] = []
    for name, layer in products.items():
        node = changed.get_node_from_name(name)
        weights = changed.get_initializer(node.input[1])
        width = bits + layer.zero_point_bits
        factor = (2.0 ** (width - 1) - 1) / np.abs(weights).max()
        factors[layer.name] = factor
        weights = np.round(weights * factor).astype(np.float32)
        layers.append(replace(layer, integers=np.sort(weights.ravel())))
        changed.set_initializer(node.input[1], weights)
        kind = f"INT{width}"
        changed.set_tensor_datatype(node.input[1], DataType[kind])
        getCustomOp(node).set_nodeattr("weightDataType", kind)
    owners = owning_layers(changed, products)
    for node in changed.graph.node:
        owner = owners.get(node.output[0])
        if owner is not None and node.op_type.startswith("Thresholding"):
            levels = changed.get_initializer(node.input[1]).astype(np.float64)
            levels = np.ceil(np.clip(levels * factors[owner], -(2.0**40), 2.0**40))
            changed.set_initializer(node.input[1], levels.astype(np.float32))
    return minimized(changed), layers
