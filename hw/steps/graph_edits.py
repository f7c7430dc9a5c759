"""Queries and edits of a graph that the rewrites share."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from onnx import NodeProto, helper
from qonnx.core.datatype import BaseDataType
from qonnx.core.modelwrapper import ModelWrapper


def only_consumer(model: ModelWrapper, tensor: str) -> NodeProto | None:
    """The node that alone reads a tensor; None if several do or the tensor is a graph output."""
    consumers = model.find_consumers(tensor)
    if len(consumers) != 1 or any(output.name == tensor for output in model.graph.output):
        return None
    return consumers[0]


def constant_input(model: ModelWrapper, node: NodeProto) -> np.ndarray | None:
    """The constant operand of a Mul or Add, or None; qonnx's cleanup makes it the second input."""
    return model.get_initializer(node.input[1]) if len(node.input) == 2 else None


def index_of(model: ModelWrapper, node: NodeProto) -> int:
    """The index of a node in the graph."""
    return next(index for index, other in enumerate(model.graph.node) if other is node or other == node)


def insert_before(
    model: ModelWrapper,
    following: NodeProto,
    kind: str,
    inputs: Iterable[str],
    outputs: Iterable[str],
    **attributes: Any,
) -> NodeProto:
    """Insert a new ONNX node directly before ``following``."""
    node = helper.make_node(kind, list(inputs), list(outputs), **attributes)
    model.graph.node.insert(index_of(model, following), node)
    return node


def new_constant(model: ModelWrapper, values: np.ndarray) -> str:
    """Add an initializer; returns its name."""
    name = model.make_new_valueinfo_name()
    model.set_initializer(name, values)
    return name


def new_tensor(model: ModelWrapper, shape: Iterable[int], datatype: BaseDataType | None = None) -> str:
    """Declare a new tensor between nodes; returns its name."""
    name = model.make_new_valueinfo_name()
    model.set_tensor_shape(name, list(shape))
    if datatype is not None:
        model.set_tensor_datatype(name, datatype)
    return name
