"""Editing of a QONNX graph: producers and consumers of values, constants, insertion and removal of nodes."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

#: Domain of qonnx's own operators.
QONNX_DOMAIN = "qonnx.custom_op.general"
#: Operators that only move values: a per-tensor quantizer before one equals the same quantizer after it.
DATA_MOVEMENT_OPS = frozenset({"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity"})
#: Arithmetic on two inputs, element by element.
ARITHMETIC_OPS = frozenset({"Add", "Sub", "Mul", "Div"})


class GraphEditor:
    """A model with look-ups that stay valid while nodes are inserted and removed through this class.

    Attributes:
        model: the model, changed in place; its shapes must have been inferred.
        constants: initializer -> its values.
        shapes: value -> its shape.
        types: value -> qonnx name of the integer type to annotate it with ("INT9").
    """

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.shapes = _shapes_of(model)
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        self.types: dict[str, str] = {}
        self._index_()
        self._fresh = 0

    def _index_(self) -> None:
        self._producers = {name: node for node in self.nodes for name in node.output}
        self._consumers: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                self._consumers.setdefault(name, []).append(node)

    @property
    def nodes(self) -> list[NodeProto]:
        """All nodes, in order; a copy, so that the graph may be changed during iteration."""
        return list(self.model.graph.node)

    @property
    def input(self) -> str:
        """The name of the image."""
        return self.model.graph.input[0].name

    @property
    def output(self) -> str:
        """The name of the first output."""
        return self.model.graph.output[0].name

    def producer(self, name: str) -> NodeProto | None:
        """The node that computes a value; None for inputs and constants."""
        return self._producers.get(name)

    def consumers(self, name: str) -> list[NodeProto]:
        """The nodes that read a value, in order."""
        return self._consumers.get(name, [])

    def is_constant(self, name: str) -> bool:
        """Whether a value is an initializer."""
        return name in self.constants

    def dynamic_inputs(self, node: NodeProto) -> list[str]:
        """The node's inputs that depend on the image."""
        return [name for name in node.input if name and not self.is_static(name)]

    def is_static(self, name: str) -> bool:
        """Whether a value does not depend on the image: a constant, or computed from constants only."""
        producer = self.producer(name)
        if producer is None:
            return name in self.constants
        return bool(producer.input) and all(self.is_static(source) for source in producer.input if source)

    def add_constant(self, values: ArrayLike, hint: str) -> str:
        """Add an initializer; returns its name, which begins with ``hint``."""
        values = np.asarray(values)
        name = self.new_name(hint, list(values.shape))
        self.constants[name] = values
        tensor = numpy_helper.from_array(values, name)
        self.model.graph.initializer.append(tensor)
        # qonnx looks up the shapes of constants in value_info.
        described = helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims))
        self.model.graph.value_info.append(described)
        return name

    def new_name(self, hint: str, shape: list[int]) -> str:
        """An unused name for a new value of this shape; it begins with ``hint``."""
        while True:
            self._fresh += 1
            name = f"{hint}.{self._fresh}"
            if name not in self._producers and name not in self.constants:
                self.shapes[name] = list(shape)
                return name

    def insert_before(self, before: NodeProto, *nodes: NodeProto) -> None:
        """Insert new nodes directly before ``before``."""
        index = self.nodes.index(before)
        for offset, node in enumerate(nodes):
            self.model.graph.node.insert(index + offset, node)
        self._index_()

    def rename(self, names: dict[str, str]) -> None:
        """Rename values, old -> new, wherever they are produced and read."""
        for item in self.nodes:
            item.input[:] = [names.get(name, name) for name in item.input]
            item.output[:] = [names.get(name, name) for name in item.output]
        self.shapes.update({new: self.shapes[old] for old, new in names.items()})
        self._index_()

    def insert_after(self, after: NodeProto, *nodes: NodeProto) -> None:
        """Insert new nodes directly after ``after``."""
        following = self.nodes[self.nodes.index(after) + 1 :]
        if following:
            self.insert_before(following[0], *nodes)
        else:
            self.model.graph.node.extend(nodes)
            self._index_()

    def remove(self, *nodes: NodeProto) -> None:
        """Remove nodes; their consumers must have been redirected before."""
        for node in nodes:
            self.model.graph.node.remove(node)
        self._index_()

    def redirect(self, old: str, new: str, consumers: Iterable[NodeProto] | None = None) -> None:
        """Let the consumers of ``old`` (all, or the given ones) read ``new`` instead."""
        for node in self.consumers(old) if consumers is None else list(consumers):
            node.input[:] = [new if name == old else name for name in node.input]
        self._index_()


def make_node(operator: str, inputs: list[str], output: str, name: str, **attributes: Any) -> NodeProto:
    """A node; in qonnx's domain if the operator is one of qonnx's."""
    domain = QONNX_DOMAIN if operator in ("Quant", "MultiThreshold") else ""
    return helper.make_node(operator, inputs, [output], name=name, domain=domain, **attributes)


def get_attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """An attribute's value as a Python number, string or list; ``default`` if the node lacks it."""
    for found in node.attribute:
        if found.name == name:
            value = helper.get_attribute_value(found)
            return value.decode() if isinstance(value, bytes) else value
    return default


def set_attribute(node: NodeProto, name: str, value: Any) -> None:
    """Set or replace an attribute."""
    for found in [item for item in node.attribute if item.name == name]:
        node.attribute.remove(found)
    node.attribute.append(helper.make_attribute(name, value))


def _shapes_of(model: ModelProto) -> dict[str, list[int]]:
    graph = model.graph
    known = {
        value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output, *graph.value_info)
    }
    return known | {tensor.name: list(tensor.dims) for tensor in graph.initializer}


def float_value_info(name: str, shape: Sequence[int | str]) -> ValueInfoProto:
    """Declaration of a float32 value; a dimension may be symbolic."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def remove_unused_nodes_(graph: GraphEditor) -> None:
    """Remove the nodes whose results are neither read nor graph outputs."""
    outputs = {value.name for value in graph.model.graph.output}
    while True:
        unread = [
            item
            for item in graph.nodes
            if not any(graph.consumers(name) or name in outputs for name in item.output)
        ]
        if not unread:
            return
        graph.remove(*unread)
