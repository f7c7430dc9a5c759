"""A QONNX graph that is being changed: who makes and reads a value, constants, new nodes in their place."""

from collections.abc import Iterable

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

#: Where qonnx's own operators live.
QONNX_DOMAIN = "qonnx.custom_op.general"
#: Operators that only move values about, for which a quantizer before is as good as one behind.
DATA_MOVEMENT_OPS = frozenset({"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity"})


class GraphEditor:
    """Look-ups over a model that stay right while nodes are put in and taken out through it.

    Attributes:
        model: the model, changed in place; its shapes have been inferred.
        constants: initializer -> its values.
        shapes: value -> its shape.
        types: value -> which integers it is said to hold, in qonnx's words ("INT9").
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
        """All nodes, in order; a copy, so that the graph may be changed while it is walked."""
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
        return self._producers.get(name)

    def consumers(self, name: str) -> list[NodeProto]:
        return self._consumers.get(name, [])

    def is_constant(self, name: str) -> bool:
        return name in self.constants

    def dynamic_inputs(self, node: NodeProto) -> list[str]:
        """What the node reads of the image: neither constants nor quantized constants."""
        return [name for name in node.input if name and not self.is_static(name)]

    def is_static(self, name: str) -> bool:
        """Whether a value does not depend on the image: a constant, or worked out of quantized ones."""
        producer = self.producer(name)
        if producer is None:
            return name in self.constants
        return bool(producer.input) and all(self.is_static(source) for source in producer.input if source)

    # Changing -----------------------------------------------------------------------------------------

    def add_constant(self, values: np.ndarray, hint: str) -> str:
        """A new initializer; its name."""
        name = self.new_name(hint, list(np.shape(values)))
        self.constants[name] = values
        tensor = numpy_helper.from_array(np.array(values), name)
        self.model.graph.initializer.append(tensor)
        # qonnx looks for the shapes of constants among those of values.
        described = helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims))
        self.model.graph.value_info.append(described)
        return name

    def new_name(self, hint: str, shape: list[int]) -> str:
        """A name that nothing has yet, for a value of this shape."""
        while True:
            self._fresh += 1
            name = f"{hint}.{self._fresh}"
            if name not in self._producers and name not in self.constants:
                self.shapes[name] = list(shape)
                return name

    def insert_before(self, before: NodeProto, *nodes: NodeProto) -> None:
        """New nodes right before another one."""
        place = self.nodes.index(before)
        for offset, node in enumerate(nodes):
            self.model.graph.node.insert(place + offset, node)
        self._index_()

    def rename(self, names: dict[str, str]) -> None:
        """Values get other names, wherever they are made and read."""
        for item in self.nodes:
            item.input[:] = [names.get(name, name) for name in item.input]
            item.output[:] = [names.get(name, name) for name in item.output]
        self.shapes.update({new: self.shapes[old] for old, new in names.items()})
        self._index_()

    def insert_after(self, before: NodeProto, *nodes: NodeProto) -> None:
        """New nodes right behind another one."""
        following = self.nodes[self.nodes.index(before) + 1 :]
        if following:
            self.insert_before(following[0], *nodes)
        else:
            self.model.graph.node.extend(nodes)
            self._index_()

    def remove(self, *nodes: NodeProto) -> None:
        """Nodes taken out; who read their results has to read something else by then."""
        for node in nodes:
            self.model.graph.node.remove(node)
        self._index_()

    def redirect(self, old: str, new: str, consumers: Iterable[NodeProto] | None = None) -> None:
        """The readers of ``old`` (all, or these) read ``new``."""
        for node in self.consumers(old) if consumers is None else list(consumers):
            node.input[:] = [new if name == old else name for name in node.input]
        self._index_()


def make_node(operator: str, inputs: list[str], output: str, name: str, **attributes) -> NodeProto:
    """A node, in qonnx's domain where the operator is one of qonnx's."""
    domain = QONNX_DOMAIN if operator in ("Quant", "MultiThreshold") else ""
    return helper.make_node(operator, inputs, [output], name=name, domain=domain, **attributes)


def get_attribute(of: NodeProto, name: str, default=None):
    """An attribute's value, text as text."""
    for found in of.attribute:
        if found.name == name:
            value = helper.get_attribute_value(found)
            return value.decode() if isinstance(value, bytes) else value
    return default


def set_attribute(of: NodeProto, name: str, value) -> None:
    for found in [item for item in of.attribute if item.name == name]:
        of.attribute.remove(found)
    of.attribute.append(helper.make_attribute(name, value))


def _shapes_of(model: ModelProto) -> dict[str, list[int]]:
    graph = model.graph
    known = {
        value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output, *graph.value_info)
    }
    return known | {tensor.name: list(tensor.dims) for tensor in graph.initializer}


def float_value_info(name: str, shape: list[int]):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def remove_unused_nodes_(graph: GraphEditor) -> None:
    """Take out the nodes whose results nobody reads any more."""
    handed_out = {value.name for value in graph.model.graph.output}
    while True:
        unread = [
            item
            for item in graph.nodes
            if not any(graph.consumers(name) or name in handed_out for name in item.output)
        ]
        if not unread:
            return
        graph.remove(*unread)
