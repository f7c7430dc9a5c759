"""The layers of a FINN profile under their torch names, found again among FINN's products."""

from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np
from onnx import NodeProto, helper
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from brevitas_defakeq.utils.errors import UserError

#: FINN's layers that multiply by weights.
PRODUCT_OPS = ("MVAU", "VVAU")


@dataclass(frozen=True)
class ProfileLayer:
    """A convolution or linear layer.

    Attributes:
        name: the torch layer's; with ``.q``, ``.k``, ``.v`` behind an attention's, ``.2`` at a second call.
        weight_shape: torch's order, [C_out, C_in, ...].
        integers: its weights, sorted, float32.
        zero_point_bits: 1 where zero points are folded into the weights, and take a bit more than its width.
    """

    name: str
    weight_shape: tuple[int, ...]
    integers: np.ndarray
    zero_point_bits: int


def profile_layers(model: ModelWrapper) -> list[ProfileLayer]:
    """Every product with a constant, in the order of the graph; poolings written as products are left out."""
    found = []
    for node in model.graph.node:
        for place, name in enumerate(node.input[:2]):
            quant = model.find_producer(name)
            if node.op_type not in ("Conv", "MatMul", "Gemm") or quant is None or quant.op_type != "Quant":
                continue
            values = model.get_initializer(quant.input[0])
            if values is not None:
                found.append(
                    _layer(model, node, quant, values, turned=node.op_type == "MatMul" and place == 1)
                )
    return [layer for layer in found if layer.integers[0] != layer.integers[-1]]


def _layer(model: ModelWrapper, node: NodeProto, quant: NodeProto, values: np.ndarray, *, turned: bool):
    settings = {item.name: helper.get_attribute_value(item) for item in quant.attribute}
    integers = np.round(values / model.get_initializer(quant.input[1]))
    shape = values.shape[::-1] if turned else values.shape
    return ProfileLayer(
        node.name, tuple(map(int, shape)), np.sort(integers.ravel()).astype(np.float32),
        # weights that never had a zero point are narrow; the others' integers are code less zero point
        zero_point_bits=0 if settings.get("narrow", 0) else 1,
    )  # fmt: skip


def match_products(model: ModelWrapper, layers: list[ProfileLayer]) -> dict[str, ProfileLayer]:
    """Node of a hardware graph -> the layer whose weights it holds; found by the weights themselves.

    Layers of equal weights stand in the order of the graph. Raises UserError where one is not found.
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
            raise UserError(f"layer {layer.name} is no product with constant weights in FINN's graph")
        found[candidates.pop(0)] = layer
    return found


def product_weights(model: ModelWrapper, node: NodeProto) -> np.ndarray | None:
    """The constant weights of a product; None for other layers, and products of two values of the image."""
    return model.get_initializer(node.input[1]) if node.op_type.startswith(PRODUCT_OPS) else None


def owning_layers(model: ModelWrapper, products: dict[str, ProfileLayer]) -> dict[str, str]:
    """Tensor -> layer whose width decides what its node takes: a product, and all up to its thresholds.

    A node behind two products belongs to the first of them; one behind thresholds, or before all, to none.
    """
    found: dict[str, str] = {}
    for node in model.graph.node:  # sorted: makers come before readers
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
    """A copy whose products have weights of another width: its own, stretched or shrunk to fill the width.

    The thresholds behind them are stretched along, as those of a network quantized to that width would be.

    Returns:
        the copy, and its layers.
    """
    from hw.steps.map_to_hardware import minimized

    changed = ModelWrapper(model.model, make_deepcopy=True)
    stretched, layers = {}, []
    for name, layer in products.items():
        node = changed.get_node_from_name(name)
        weights = changed.get_initializer(node.input[1])
        width = bits + layer.zero_point_bits
        factor = (2.0 ** (width - 1) - 1) / np.abs(weights).max()
        stretched[layer.name] = factor
        weights = np.round(weights * factor).astype(np.float32)
        layers.append(replace(layer, integers=np.sort(weights.ravel())))
        changed.set_initializer(node.input[1], weights)
        kind = f"INT{width}"
        changed.set_tensor_datatype(node.input[1], DataType[kind])
        getCustomOp(node).set_nodeattr("weightDataType", kind)
    belongs = owning_layers(changed, products)
    for node in changed.graph.node:
        owner = belongs.get(node.output[0])
        if owner is not None and node.op_type.startswith("Thresholding"):
            levels = changed.get_initializer(node.input[1]).astype(np.float64)
            levels = np.ceil(np.clip(levels * stretched[owner], -(2.0**40), 2.0**40))
            changed.set_initializer(node.input[1], levels.astype(np.float32))
    return minimized(changed), layers
