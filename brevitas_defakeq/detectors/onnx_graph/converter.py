"""From the nodes of an ONNX graph to the steps of a program, by running it once with one and two images.

What depends on no image is a constant and is computed right away, shape arithmetic included: the graph is
read as if it were for one image, and the axis of the batch is the one that is longer with two.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import onnx
import torch
from onnx import ModelProto, NodeProto, helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor

from brevitas_defakeq.detectors.onnx_graph.graph_file import (
    NEWEST_OPSET,
    constant_of,
    initializers,
    node_name,
    opset_of,
)
from brevitas_defakeq.detectors.onnx_graph.node_names import NodeNames
from brevitas_defakeq.detectors.onnx_graph.program import Step
from brevitas_defakeq.nn.graph_network import Operand
from brevitas_defakeq.utils.errors import UserError, one_line


@dataclass
class Value:
    """A value of the graph: a constant, or what depends on the images, with its examples.

    Attributes:
        name: in the program.
        constant: its value, if it depends on no image.
        examples: for one and for two images.
        source: the initializer that it is, or was moved from; "" for a computed one.
    """

    name: str
    constant: np.ndarray | None = None
    examples: tuple[Tensor, ...] = ()
    source: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        return self.constant.shape if self.constant is not None else tuple(self.examples[0].shape)

    @property
    def batch_axis(self) -> int | None:
        """The axis along which the images lie; None if it depends on none."""
        if not self.examples:
            return None
        pairs = zip(self.examples[0].shape, self.examples[1].shape, strict=True)
        return next((axis for axis, (one, two) in enumerate(pairs) if one != two), None)


class Graph:
    """The conversion of one graph; ``steps`` grows node by node.

    Args:
        model: in float32, without functions and subgraphs.
        image: the name of its input.
        examples: that input for one and for two images, in the graph's own layout.
    """

    def __init__(self, model: ModelProto, image: Value, path: object) -> None:
        self.path, self.opset = path, opset_of(model)
        self.steps: list[Step] = []
        self.makers: dict[str, Step] = {}
        self.values = {name: Value(name, values, source=name) for name, values in initializers(model).items()}
        self.values[image.name] = image
        self.names = NodeNames()
        self.unscaled: set[str] = set()  # integer layers whose scale is still to come
        self.readers = Counter(name for node in model.graph.node for name in node.input)
        self.readers.update(value.name for value in model.graph.output)
        self.nodes = {name: node for node in model.graph.node for name in node.input}

    def convert_(self, node: NodeProto, handlers: dict[str, Any]) -> None:
        """Append the steps of a node, or note the constant that it makes.

        Raises:
            UserError: the operator, or its use here, is not known.
        """
        wrapped = Node(node, self)
        constant = constant_of(node)
        if constant is not None:
            self.values[node.output[0]] = Value(node.output[0], constant)
        elif node.op_type == "Shape":
            shape = np.array(wrapped.data(0).shape, np.int64)
            shape = shape[wrapped.attribute("start", 0) : wrapped.attribute("end", None)]
            self.values[node.output[0]] = Value(node.output[0], shape)
        elif node.op_type == "Size":
            size = np.array(np.prod(wrapped.data(0).shape), np.int64)
            self.values[node.output[0]] = Value(node.output[0], size)
        elif all(value is None or value.constant is not None for value in wrapped.inputs):
            self._fold(wrapped)
        elif node.op_type in handlers:
            try:
                handlers[node.op_type](wrapped)
            except (RuntimeError, ValueError, IndexError, TypeError, KeyError) as error:
                wrapped.refuse(one_line(error))
        else:
            raise UserError(
                f"{self.path}: node {node_name(node)} is of operator {node.op_type}, which cannot be "
                "converted"
            )

    def emit(
        self, node: "Node", kind: str, operands: list["Value | float"], options: dict[str, Any], *,
        tensors: dict[str, Tensor] | None = None, outputs: list[str] | None = None, hint: str = "",
    ) -> list[Value]:  # fmt: skip
        """Append a step, run it on the examples, and return what it makes."""
        inputs: list[Operand] = []
        arrays: dict[str, list[Any]] = {}
        state = dict(tensors or {})
        for position, operand in enumerate(operands):
            if not isinstance(operand, Value):
                inputs.append(operand)
            elif operand.constant is None:
                inputs.append(operand.name)
            else:
                tensor = torch.from_numpy(np.array(operand.constant))
                trained = tensor.is_floating_point() and tensor.numel() > 1 and bool(tensor.isfinite().all())
                dtype = str(tensor.dtype).removeprefix("torch.")
                arrays[str(position)] = [dtype, list(tensor.shape), trained]
                state[f"constant{position}"] = tensor
                hint = hint or operand.source
                inputs.append(None)
        if kind == "function":
            options = {**options, "constants": arrays}
        made = outputs or node.outputs[:1]
        name = self.names.name(node.proto, kind if kind != "function" else options["function"], hint)
        step = Step(name, kind, inputs, made, options, state)
        self.steps.append(step)
        return self.run(step)

    @torch.no_grad()
    def run(self, step: Step) -> list[Value]:
        """(Re)compute what a step makes of the examples."""
        module = step.module()
        results = []
        for index in range(2):
            operands = [
                self.values[item].examples[index] if isinstance(item, str) else item for item in step.inputs
            ]
            result = module(*operands)
            results.append((result,) if isinstance(result, Tensor) else result)
        values = [
            Value(name, None, pair)
            for name, pair in zip(step.outputs, zip(*results, strict=True), strict=True)
        ]
        for value in values:
            self.values[value.name] = value
            self.makers[value.name] = step
        return values

    def alias(self, node: "Node", value: Value) -> None:
        """The node makes what is there already."""
        self.values[node.outputs[0]] = value
        # A value under two names is read by the readers of both.
        self.readers[value.name] += self.readers[node.outputs[0]] - 1

    def _fold(self, node: "Node") -> None:
        """Compute a node of constants."""
        proto = NodeProto()
        proto.CopyFrom(node.proto)
        feeds = {value.name: value.constant for value in node.inputs if value is not None}
        proto.input[:] = ["" if value is None else value.name for value in node.inputs]
        graph = helper.make_graph(
            [proto], "constant",
            [helper.make_tensor_value_info(name, onnx.TensorProto.UNDEFINED, None) for name in feeds],
            [helper.make_tensor_value_info(name, onnx.TensorProto.UNDEFINED, None) for name in proto.output],
        )  # fmt: skip
        results: Any = []
        for opset in (self.opset, NEWEST_OPSET):  # onnx itself lacks a few older versions
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
            try:
                results = ReferenceEvaluator(model).run(None, feeds)
                break
            except Exception as error:  # of numpy or of onnx, of any kind
                if opset == NEWEST_OPSET:
                    node.refuse(one_line(error))
        sources = [value.source for value in node.inputs[:1] if value is not None]
        moved = node.op in ("Transpose", "Reshape", "Identity", "Cast", "Squeeze", "Unsqueeze", "Expand")
        if node.op == "Identity":  # torch's exporter names tensors with the same values so
            sources = list(proto.output)
        for name, result in zip(proto.output, results, strict=True):
            result = np.asarray(result)
            self.values[name] = Value(name, result, source=sources[0] if moved and sources else "")


class Node:
    """A node with its inputs as values, for the handlers."""

    def __init__(self, proto: NodeProto, graph: Graph) -> None:
        self.proto, self.graph = proto, graph
        self.op, self.outputs, self.opset = proto.op_type, list(proto.output), graph.opset
        self.attributes = {entry.name: helper.get_attribute_value(entry) for entry in proto.attribute}
        self.inputs = [self._value(name) for name in proto.input]

    def _value(self, name: str) -> Value | None:
        if not name:
            return None
        if name not in self.graph.values:
            self.refuse(f"reads {name}, which nothing makes")
        return self.graph.values[name]

    def attribute(self, name: str, default: Any) -> Any:
        value = self.attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else value

    def has(self, position: int) -> bool:
        """Whether that input is given."""
        return position < len(self.inputs) and self.inputs[position] is not None

    def data(self, position: int) -> Value:
        """An input that has to be given."""
        value = self.inputs[position] if self.has(position) else None
        if value is None:
            self.refuse(f"has no input {position}")
        return value

    def array(self, position: int, default: Any = None) -> Any:
        """A constant input; UserError if it depends on the image."""
        if not self.has(position):
            return default
        constant = self.data(position).constant
        if constant is None:
            self.refuse(f"input {position} depends on the image")
        return constant

    def integers(self, name: str, position: int, default: Any = None) -> Any:
        """A list of integers: an attribute in older opsets, an input in newer ones."""
        if name in self.attributes:
            return [int(item) for item in np.atleast_1d(self.attributes[name])]
        found = self.array(position)
        return default if found is None else [int(item) for item in np.atleast_1d(found)]

    def axis(self, value: int, rank: int | None = None) -> int:
        """An axis counted from the front."""
        rank = len(self.data(0).shape) if rank is None else rank
        return value + rank if value < 0 else value

    def module(self, kind: str, options: dict[str, Any] | None = None, **more: Any) -> Value:
        """A module of the first input."""
        return self.graph.emit(self, kind, [self.data(0)], options or {}, **more)[0]

    def function(
        self, name: str, operands: list[Value | float], outputs: list[str] | None = None, **attributes: Any
    ) -> Value:
        """A function of several operands."""
        options = {"function": name, "attributes": attributes}
        return self.graph.emit(self, "function", operands, options, outputs=outputs)[0]

    def temporary(self, suffix: str) -> list[str]:
        """A name for a value between two steps of one node."""
        return [f"{self.outputs[0]}.{suffix}"]

    def alias(self, value: Value) -> None:
        self.graph.alias(self, value)

    def refuse(self, why: str) -> NoReturn:
        """Raises UserError that names the operator and the node."""
        raise UserError(
            f"{self.graph.path}: node {node_name(self.proto)} ({self.op}) cannot be converted: {why}"
        )
