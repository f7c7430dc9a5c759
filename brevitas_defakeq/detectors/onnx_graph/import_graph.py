"""An ONNX file as a network of torch modules, with the program that rebuilds it.

Converters were tried first: `onnx2torch` 1.5.15 rebuilt 7 of 20 files and `onnx2pytorch` 0.6.0 17,
neither with the network's own names nor without the file (docs/onnx_in.md).
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from onnx import ModelProto
from torch import Tensor

from brevitas_defakeq.detectors.onnx_graph.block_groups import group_blocks
from brevitas_defakeq.detectors.onnx_graph.converter import Graph, Value
from brevitas_defakeq.detectors.onnx_graph.dequantize import (
    DEQUANTIZERS,
    quantized_operators,
    refuse_quantized,
)
from brevitas_defakeq.detectors.onnx_graph.dropped_batch import after_dropped_batch
from brevitas_defakeq.detectors.onnx_graph.file_functions import inline_functions, write_out_operators
from brevitas_defakeq.detectors.onnx_graph.graph_file import read_graph, to_float32_
from brevitas_defakeq.detectors.onnx_graph.interface import FINAL_OPERATORS, GraphInterface, read_interface
from brevitas_defakeq.detectors.onnx_graph.node_attention import group_attention
from brevitas_defakeq.detectors.onnx_graph.node_operators import HANDLERS
from brevitas_defakeq.detectors.onnx_graph.program import Program, Step
from brevitas_defakeq.detectors.onnx_graph.subgraphs import drop_unread_, free_name, names_in
from brevitas_defakeq.detectors.onnx_graph.written_norms import join_norms
from brevitas_defakeq.utils.errors import UserError

_FOREIGN = {f"com.microsoft.{name}": convert for name, convert in DEQUANTIZERS.items()}
_KNOWN = {
    name: after_dropped_batch(convert) for name, convert in {**HANDLERS, **DEQUANTIZERS, **_FOREIGN}.items()
}


@dataclass(frozen=True)
class ImportedGraph:
    """The result.

    Attributes:
        program: rebuilds the network.
        interface: of the file.
        scores: the float32 model up to the scores, for onnxruntime; None where the file is quantized.
    """

    program: Program
    interface: GraphInterface
    scores: ModelProto | None


def import_graph(
    path: Path,
    *,
    size: tuple[int, int] | None = None,
    output: str | None = None,
    from_quantized: bool = False,
) -> ImportedGraph:
    """Convert a file.

    Args:
        size: height and width, where the file leaves them open.
        output: the name of the output that is the score.
        from_quantized: take the float weights of a quantized file.

    Raises:
        UserError: the file cannot be read or holds what cannot be converted.
    """
    model = inline_functions(read_graph(path), path)
    interface = read_interface(model, path, output)
    drop_unread_(model.graph)
    quantized = bool(quantized_operators(model))
    if not from_quantized:
        refuse_quantized(model, path)
    to_float32_(model)
    sides = interface.size or size
    if sides is None:
        raise UserError(f"{path} takes images of any size; give --input-size")
    if size is not None and size != sides:
        raise UserError(f"{path} takes images of {sides[0]} x {sides[1]} pixels; leave out --input-size")
    interface = _without_finals_(model, interface)
    graph = _converted(write_out_operators(model, _KNOWN), interface, sides, path)
    outputs = [_result(graph, value.name, path) for value in model.graph.output]
    shapes = {name: value.shape for name, value in graph.values.items() if value.items is None}
    image = graph.image.name
    steps = join_norms(_needed(graph.steps, outputs), shapes, set(outputs))
    steps = group_attention(steps, set(outputs))
    steps = group_blocks(steps, image, outputs)
    return ImportedGraph(Program(steps, [image], outputs), interface, None if quantized else model)


def _converted(model: ModelProto, interface: GraphInterface, sides: tuple[int, int], path: Path) -> Graph:
    """The graph converted; once more without its branches, so that what reads each value is known before."""
    others = names_in(model) - ({interface.image.name} if interface.layout == "NCHW" else set())
    image = Value(free_name("image", others), None, _examples(sides))
    graph = Graph(model, image, path, fixed=interface.fixed_batch)
    graph.readers[image.name] = 2
    _enter(graph, interface)
    for node in model.graph.node:
        graph.convert_(node, _KNOWN)
    if not graph.inlined:
        return graph
    flat = ModelProto()
    flat.CopyFrom(model)
    flat.graph.ClearField("node")
    flat.graph.node.extend(graph.nodes_run)
    for branch in graph.inlined:
        flat.graph.initializer.extend(branch.initializer)
    drop_unread_(flat.graph)
    return _converted(flat, interface, sides, path)


def _examples(sides: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """One image and two others."""
    images = torch.randn(3, 3, *sides, generator=torch.Generator().manual_seed(0))
    return images[:1], images[1:]


def _enter(graph: Graph, interface: GraphInterface) -> None:
    """From the images [N, 3, H, W] to the graph's input in its own layout."""
    name, image = interface.image.name, graph.image
    if interface.layout == "NCHW":
        graph.values[name] = image
        return
    step = Step("entry", "function", [image.name], [free_name(f"{name}.nhwc", graph.used)], {
        "function": "permute", "attributes": {"axes": [0, 2, 3, 1]}, "constants": {}
    })  # fmt: skip
    graph.names.used.add("entry")
    graph.steps.append(step)
    graph.values[name] = graph.run(step)[0]


def _without_finals_(model: ModelProto, interface: GraphInterface) -> GraphInterface:
    """Take the softmax or sigmoid off the score: a run works on what is before it."""
    graph = model.graph
    verdict = interface.outputs[interface.verdict]
    makers = {name: node for node in graph.node for name in node.output}
    node = makers.get(verdict.name)
    while node is not None and node.op_type in ("Identity", "Cast"):
        node = makers.get(node.input[0])
    if node is None or node.op_type not in FINAL_OPERATORS or not _over_classes(node, len(verdict.shape)):
        return interface
    graph.output[interface.verdict].name = node.input[0]
    outputs = list(interface.outputs)
    outputs[interface.verdict] = replace(verdict, final=node.op_type)
    return replace(interface, outputs=tuple(outputs))


def _over_classes(node: object, rank: int) -> bool:
    axes = [attribute.i for attribute in node.attribute if attribute.name == "axis"]  # type: ignore[attr-defined]
    return not axes or axes[0] in (-1, max(rank - 1, 1))


def _result(graph: Graph, name: str, path: Path) -> str:
    """The program's name of an output."""
    value = graph.value(name)
    if value is None or value.constant is not None:
        raise UserError(f"{path}: output {name} does not depend on the image")
    return value.name


def _needed(steps: list[Step], outputs: list[str]) -> list[Step]:
    """The steps without those whose results nobody reads."""
    read, kept = set(outputs), []
    for step in reversed(steps):
        if read.intersection(step.outputs):
            kept.append(step)
            read.update(step.values)
    return kept[::-1]
