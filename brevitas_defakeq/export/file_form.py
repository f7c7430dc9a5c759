"""What exported ONNX files take and return: our own form, or that of the file that a run was made from."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from onnx import ModelProto, TensorProto, helper
from torch import Tensor

from brevitas_defakeq.artifact import QuantizedDetector
from brevitas_defakeq.detectors.onnx_detector import graph_interface
from brevitas_defakeq.detectors.onnx_graph.interface import GraphInterface, GraphValue
from brevitas_defakeq.export.export_card import input_output_of
from brevitas_defakeq.export.graph_writer import FileForm
from brevitas_defakeq.runtime.card import CardInput, CardOutput

_FINALS: dict[str, Callable[[Tensor], Tensor]] = {
    "Softmax": lambda scores: scores.softmax(-1),
    "LogSoftmax": lambda scores: scores.log_softmax(-1),
    "Sigmoid": torch.sigmoid,
    "": lambda scores: scores,
}


def source_interface(result: QuantizedDetector) -> GraphInterface | None:
    """The interface of the ONNX file that the run was made from; None for other runs."""
    return graph_interface(result.spec) if result.spec.get("kind") == "onnx" else None


def form_of(result: QuantizedDetector, *, pixels: bool) -> FileForm:
    """The form of the file; ``pixels`` replaces input and output by ours."""
    interface = None if pixels else source_interface(result)
    if interface is None:
        return FileForm(result.observer.logit)
    outputs = _score_first(interface)
    keys = json.loads(result.spec["program"])["outputs"]
    order = [interface.outputs.index(output) for output in outputs]

    def read(raw: Any) -> Any:
        values = [raw[keys[index]] if isinstance(raw, dict) else raw for index in order]
        made = [_FINALS[output.final](value) for output, value in zip(outputs, values, strict=True)]
        if interface.fixed_batch:
            made = [_shaped(value, output.shape) for output, value in zip(outputs, made, strict=True)]
        return made[0] if len(made) == 1 else tuple(made)

    return FileForm(
        read, interface.image.name, tuple(output.name for output in outputs), interface.layout,
        interface.fixed_batch,
    )  # fmt: skip


def _shaped(value: Tensor, shape: tuple[str | int, ...]) -> Tensor:
    """Without the axis of the batch where a file for one image has dropped it."""
    return value.squeeze(0) if len(shape) == value.dim() - 1 and value.shape[0] == 1 else value


def file_contract(
    result: QuantizedDetector, *, pixels: bool, classes: int, batch: int | None
) -> tuple[CardInput, CardOutput]:
    """The card's input and output.

    Args:
        classes: number of scores for an image.
        batch: the one number of images that the file takes at once; None for any.
    """
    card_input, card_output = input_output_of(result, pixels=pixels, batch=batch)
    interface = None if pixels else source_interface(result)
    if interface is None:
        return card_input, card_output
    spec = result.observer.output
    final = interface.outputs[interface.verdict].final
    if final in ("Softmax", "Sigmoid") or spec.kind == "probability":
        kind = "probability"
    else:
        kind = "logit" if classes == 1 else "softmax"
    return (
        replace(card_input, layout=interface.layout, dtype=interface.image.dtype),
        CardOutput(kind=kind, fake_index=spec.fake_index, real_index=spec.real_index),
    )


def restore_edges_(model: ModelProto, result: QuantizedDetector, *, pixels: bool) -> None:
    """The names of open axes and the number types of the file that the run was made from."""
    interface = None if pixels else source_interface(result)
    if interface is None:
        return
    graph = model.graph
    for value, wanted in zip(
        [*graph.input, *graph.output], [interface.image, *_score_first(interface)], strict=True
    ):
        sizes = value.type.tensor_type.shape.dim
        for size, name in zip(sizes, wanted.shape, strict=False):
            if isinstance(name, str) and not size.HasField("dim_value"):
                size.dim_param = name
    if interface.image.dtype == "float16":
        name = graph.input[0].name
        inner = _renamed_(model, name)
        graph.node.insert(0, helper.make_node("Cast", [name], [inner], to=TensorProto.FLOAT))
        graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    for value, wanted in zip(graph.output, _score_first(interface), strict=True):
        if wanted.dtype == "float16":
            inner = _renamed_(model, value.name)
            graph.node.append(helper.make_node("Cast", [inner], [value.name], to=TensorProto.FLOAT16))
            value.type.tensor_type.elem_type = TensorProto.FLOAT16


def _score_first(interface: GraphInterface) -> list[GraphValue]:
    score = interface.outputs[interface.verdict]
    return [score, *(output for output in interface.outputs if output != score)]


def _renamed_(model: ModelProto, name: str) -> str:
    """Give a value a name of its own inside the graph, and return it."""
    inner = f"{name}.float32"
    for node in model.graph.node:
        node.input[:] = [inner if value == name else value for value in node.input]
        node.output[:] = [inner if value == name else value for value in node.output]
    return inner
