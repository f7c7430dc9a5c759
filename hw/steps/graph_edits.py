"""Small questions and changes that the rewrites share."""

import numpy as np
from onnx import NodeProto, helper
from qonnx.core.modelwrapper import ModelWrapper


def only_consumer(model: ModelWrapper, tensor: str) -> NodeProto | None:
    """The one node that reads a tensor; None where several do, or the graph puts it out."""
    consumers = model.find_consumers(tensor)
    if len(consumers) != 1 or any(output.name == tensor for output in model.graph.output):
        return None
    return consumers[0]


def constant_input(model: ModelWrapper, node: NodeProto) -> np.ndarray | None:
    """The constant of a Mul or Add with a constant, which qonnx's cleanup sorts to the second place."""
    return model.get_initializer(node.input[1]) if len(node.input) == 2 else None


def index_of(model: ModelWrapper, node: NodeProto) -> int:
    return next(index for index, other in enumerate(model.graph.node) if other is node or other == node)


def insert_before(
    model: ModelWrapper, place: NodeProto, kind: str, inputs, outputs, **attributes
) -> NodeProto:
    """A new standard node in front of ``place``."""
    node = helper.make_node(kind, list(inputs), list(outputs), **attributes)
    model.graph.node.insert(index_of(model, place), node)
    return node


def new_constant(model: ModelWrapper, values: np.ndarray) -> str:
    """The name of a new initializer."""
    name = model.make_new_valueinfo_name()
    model.set_initializer(name, values)
    return name


def new_tensor(model: ModelWrapper, shape, datatype=None) -> str:
    """The name of a new tensor between nodes."""
    name = model.make_new_valueinfo_name()
    model.set_tensor_shape(name, list(shape))
    if datatype is not None:
        model.set_tensor_datatype(name, datatype)
    return name
