"""From the nodes of an ONNX graph to the steps of a program, by running it once with one and two images.

What depends on no image is a constant and is computed right away, shape arithmetic included: the graph is
read as if it were for one image, and the axis of the batch is the one that is longer with two.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn

import numpy as np
import onnx
import torch
from onnx import GraphProto, ModelProto, NodeProto, helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor

from brevitas_defakeq.detectors.onnx_graph.graph_file import (
    NEWEST_OPSET,
    constant_of,
    initializers,
    node_name,
    operator_key,
    opset_of,
    reason_against,
)
from brevitas_defakeq.detectors.onnx_graph.node_names import NodeNames
from brevitas_defakeq.detectors.onnx_graph.program import Step
from brevitas_defakeq.detectors.onnx_graph.subgraphs import branch_of, free_name, made_in, names_in, reads_of
from brevitas_defakeq.nn.graph_network import Operand
from brevitas_defakeq.utils.errors import UserError, one_line

#: What a node with a use of its own raises in torch, NumPy or Python.
_FAILURES = (RuntimeError, ValueError, LookupError, TypeError, ArithmeticError, StopIteration)


@dataclass
class Value:
    """A value of the graph: a constant, or what depends on the images, with its examples.

    Attributes:
        name: in the program.
        constant: its value, if it depends on no image.
        examples: for one and for two images.
        source: the initializer that it is, or was moved from; "" for a computed one.
        items: the values in it, where it is a sequence.
    """

    name: str
    constant: np.ndarray | None = None
    examples: tuple[Tensor, ...] = ()
    source: str = ""
    items: tuple["Value", ...] | None = None

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

    A node that cannot be converted matters only where an output depends on it: ``value`` raises its refusal.

    Args:
        model: in float32, without functions.
        image: one image and two others, [N, 3, H, W].
        fixed: the file takes one image at a time, so it may drop the axis of the batch.

    Attributes:
        nodes_run: the nodes that were converted, with the branches that were taken in the place of each `If`.
        inlined: the branches.
        without_batch: the names of the values that have no axis of the batch in the file, but one here.
    """

    def __init__(self, model: ModelProto, image: Value, path: object, *, fixed: bool = False) -> None:
        self.path, self.opset, self.fixed, self.image = path, opset_of(model), fixed, image
        self.steps: list[Step] = []
        self.makers: dict[str, Step] = {}
        self.names = NodeNames()
        self.unscaled: set[str] = set()  # integer layers whose scale is still to come
        self.readers = Counter(name for node in model.graph.node for name in reads_of(node))
        self.readers.update(value.name for value in model.graph.output)
        held = initializers(model.graph, self.readers)
        self.values = {name: Value(name, values, source=name) for name, values in held.items()}
        self.values[image.name] = image
        self.nodes = {name: node for node in model.graph.node for name in node.input}
        self.used = names_in(model)
        self.refused: dict[str, UserError] = {}
        self.nodes_run: list[NodeProto] = []
        self.inlined: list[GraphProto] = []
        self.without_batch: set[str] = set()

    def value(self, name: str) -> Value | None:
        """What is called so, if something is.

        Raises:
            UserError: the node that makes it cannot be converted.
        """
        if name in self.refused:
            raise self.refused[name].with_traceback(None) from None
        return self.values.get(name)

    def convert_(self, node: NodeProto, handlers: Mapping[str, "Handler"]) -> None:
        """Append the steps of a node, or note the constant that it makes, or why it cannot be converted."""
        try:
            wrapped = Node(node, self)
            if node.op_type == "If" and wrapped.data(0).constant is not None:
                self._take_branch(wrapped, handlers)
                return
            self._convert(wrapped, handlers)
        except UserError as error:
            self.refused.update(dict.fromkeys(node.output, error))
        except _FAILURES as error:
            self.refused.update(dict.fromkeys(node.output, self.refusal(node, one_line(error))))
        self.nodes_run.append(node)

    def refusal(self, node: NodeProto, why: str) -> UserError:
        """The error that names the operator and the node."""
        return UserError(f"{self.path}: node {node_name(node)} ({node.op_type}) cannot be converted: {why}")

    def _take_branch(self, node: "Node", handlers: Mapping[str, "Handler"]) -> None:
        branch = branch_of(node.proto, bool(node.array(0).reshape(-1)[0]), self.used)
        held = initializers(branch, made_in(branch))
        self.values.update({name: Value(name, values, source=name) for name, values in held.items()})
        self.inlined.append(branch)
        for inner in branch.node:
            self.convert_(inner, handlers)

    def _convert(self, wrapped: "Node", handlers: Mapping[str, "Handler"]) -> None:
        node = wrapped.proto
        constant, handler = constant_of(node), handlers.get(operator_key(node))
        if constant is not None:
            self.values[node.output[0]] = Value(node.output[0], constant)
        elif node.op_type in ("Shape", "Size"):
            self._measure(wrapped)
        elif wrapped.is_constant:
            self._fold(wrapped)
        elif handler is None:
            raise UserError(f"{self.path}: node {node_name(node)} {reason_against(node)}")
        else:
            handler(wrapped)

    def _measure(self, node: "Node") -> None:
        shape = node.data(0).shape[node.proto.input[0] in self.without_batch :]
        if node.op == "Size":
            made = np.array(np.prod(shape), np.int64)
        else:
            made = np.array(shape, np.int64)[node.attribute("start", 0) : node.attribute("end", None)]
        self.values[node.outputs[0]] = Value(node.outputs[0], made)

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
        feeds = {name: value.constant for name, value in node.read.items()}
        proto = NodeProto()
        proto.CopyFrom(node.proto)
        proto.domain = ""  # onnxruntime's forms of ONNX's own operators compute the same
        graph = helper.make_graph(
            [proto], "constant",
            [helper.make_tensor_value_info(name, onnx.TensorProto.UNDEFINED, None) for name in feeds],
            [helper.make_tensor_value_info(name, onnx.TensorProto.UNDEFINED, None) for name in node.outputs],
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
            sources = list(node.outputs)
        for name, result in zip(node.outputs, results, strict=True):
            result = np.asarray(result)
            self.values[name] = Value(name, result, source=sources[0] if moved and sources else "")


class Node:
    """A node with its inputs as values, for the handlers."""

    def __init__(self, proto: NodeProto, graph: Graph) -> None:
        self.proto, self.graph = proto, graph
        self.op, self.outputs, self.opset = proto.op_type, list(proto.output), graph.opset
        self.attributes = {entry.name: helper.get_attribute_value(entry) for entry in proto.attribute}
        self.inputs = [self._value(name) if name else None for name in proto.input]

    def _value(self, name: str) -> Value:
        value = self.graph.value(name)
        if value is None:
            self.refuse(f"it reads {name}, which nothing makes")
        return value

    @cached_property
    def read(self) -> dict[str, Value]:
        """What it reads, in its subgraphs too."""
        return {name: self._value(name) for name in reads_of(self.proto)}

    @property
    def is_constant(self) -> bool:
        """Whether it depends on no image, and is no sequence."""
        return "Sequence" not in self.op and all(value.constant is not None for value in self.read.values())

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
        return [free_name(f"{self.outputs[0]}.{suffix}", self.graph.used)]

    def alias(self, value: Value) -> None:
        self.graph.alias(self, value)

    def refuse(self, why: str) -> NoReturn:
        """Raises UserError that names the operator and the node."""
        raise self.graph.refusal(self.proto, why)


#: Converts a node that depends on the images.
Handler = Callable[[Node], object]
