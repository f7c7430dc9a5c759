"""Write export modules as an ONNX graph, with torch's exporter, and make it small."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto, numpy_helper
from torch import Tensor, nn
from torch.onnx.ops import symbolic

from brevitas_defakeq.export.quiet_converters import quiet
from brevitas_defakeq.nn.module_tree import names_by_alias
from brevitas_defakeq.utils.errors import UserError, first_line

INPUT, OUTPUT = "image", "score"
#: ONNX Runtime 1.18 names what it fuses by these nodes' names, and refuses two of the same.
_NAMED = ("Gather", "Slice")
#: Domain of the node that ``coded`` puts behind a weight; no file has it.
_OWN_DOMAIN = "brevitas_defakeq"


@dataclass(frozen=True)
class FileForm:
    """What a written graph takes and returns.

    Attributes:
        read: what the network returns -> the graph's outputs.
        layout: of the images, "NCHW" or "NHWC".
        fixed_batch: the example's number of images alone.
    """

    read: Callable[[Any], Any]
    input: str = INPUT
    outputs: tuple[str, ...] = (OUTPUT,)
    layout: str = "NCHW"
    fixed_batch: bool = False


class _Score(nn.Module):
    """The detector with the outputs of its file, of which the score is the first."""

    def __init__(self, network: nn.Module, form: FileForm) -> None:
        super().__init__()
        self.form, self.file = network, form  # "form" is written to files: another name changes their size

    def forward(self, image: Tensor) -> Any:
        return self.file.read(self.form(image.permute(0, 3, 1, 2) if self.file.layout == "NHWC" else image))


def write_graph(network: nn.Module, form: FileForm, example: Tensor, opset: int) -> ModelProto:
    """The graph of ``form.read(network(image))``.

    Its initializers and scopes are named ``form.`` and the path in ``network``.

    Args:
        network: export modules.
        example: images [N, 3, H, W]; of one image, the exporter fixes the batch size.

    Raises:
        UserError: torch cannot export the model; the first line of its reason.
    """
    wrapped = _Score(network, form).eval()
    example = example.permute(0, 2, 3, 1).contiguous() if form.layout == "NHWC" else example
    shapes = None if form.fixed_batch else {"image": {0: torch.export.Dim("batch", min=1)}}
    with quiet(), torch.no_grad():
        try:
            program = torch.onnx.export(
                wrapped, (example,), dynamo=True, opset_version=opset, verbose=False, optimize=True,
                input_names=[form.input], output_names=list(form.outputs), dynamic_shapes=shapes,
            )  # fmt: skip
        except Exception as error:  # the exporter's errors share no other base
            reason = first_line(error.__cause__ or error)
            raise UserError(f"torch cannot write this detector as ONNX: {reason}") from error
    assert program is not None  # dynamo=True returns one
    model = program.model_proto
    _uncover_weights_(model)
    _name_shared_(model, wrapped)
    return model


def coded(weight: Tensor) -> Tensor:
    """In an exported forward: the weight, out of reach of the exporter's optimizer.

    It would fold a BatchNorm behind the layer into the weight, whose codes then undid it.
    """
    return symbolic(f"{_OWN_DOMAIN}::Coded", (weight,), dtype=weight.dtype, shape=weight.shape, version=1)


def _uncover_weights_(model: ModelProto) -> None:
    """Remove the nodes of ``coded``."""
    covers = [node for node in model.graph.node if node.domain == _OWN_DOMAIN]
    weights = {node.output[0]: node.input[0] for node in covers}
    for node in covers:
        model.graph.node.remove(node)
    for node in model.graph.node:
        node.input[:] = [weights.get(name, name) for name in node.input]
    for opset in [opset for opset in model.opset_import if opset.domain == _OWN_DOMAIN]:
        model.opset_import.remove(opset)


def _name_shared_(model: ModelProto, wrapped: nn.Module) -> None:
    """The initializers of a module with several paths get the name that the module has elsewhere."""
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    new: dict[str, str] = {}
    for path, name in names_by_alias(wrapped).items():
        for tensor in held if path != name else ():
            owner, _, last = tensor.rpartition(".")
            if owner == path and f"{name}.{last}" not in held:
                new[tensor] = f"{name}.{last}"
    for tensor, name in new.items():
        held[tensor].name = name
    for node in model.graph.node if new else ():
        node.input[:] = [new.get(name, name) for name in node.input]


def initializers(model: ModelProto) -> dict[str, np.ndarray]:
    """Name -> values of the graph's initializers."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def drop_unread_(model: ModelProto) -> None:
    """Remove the initializers that no node reads any more."""
    read = {name for node in model.graph.node for name in node.input}
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name not in read]:
        model.graph.initializer.remove(tensor)


def shorten_(model: ModelProto) -> None:
    """Short names, no intermediate shapes, no documentation: on small networks they outweigh the weights."""
    graph = model.graph
    model.ir_version = onnx.helper.find_min_ir_version_for(model.opset_import)  # old runtimes refuse newer
    del graph.value_info[:]
    del model.metadata_props[:], graph.metadata_props[:]
    kept = {value.name for value in (*graph.input, *graph.output)}
    names: dict[str, str] = {"": ""}

    def short(name: str) -> str:
        if name not in names:
            names[name] = name if name in kept else _base36(len(names))
        return names[name]

    for tensor in graph.initializer:
        tensor.name = short(tensor.name)
        tensor.doc_string = ""
    for node in graph.node:
        node.name = node.doc_string = ""
        del node.metadata_props[:]
        node.input[:] = [short(name) for name in node.input]
        node.output[:] = [short(name) for name in node.output]
        if node.op_type in _NAMED:
            node.name = node.output[0]
    onnx.checker.check_model(model)


def _base36(number: int) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    text = ""
    while number:
        number, rest = divmod(number, 36)
        text = digits[rest] + text
    return f"_{text}"
