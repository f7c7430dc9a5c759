"""``export_qonnx``: a run as faithful QONNX, ``model.onnx`` and ``model_card.json``.

Every quantizer is a ``Quant`` node with constant scale, zero point and width; a weight is its codes times its
scale, with learned rounding in it. The file is cleaned by qonnx, executed by qonnx, and compared with torch.
"""

from ast import literal_eval
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from onnx import ModelProto, NodeProto, helper
from torch import Tensor, nn

from brevitas_defakeq.artifact import QuantizedDetector
from brevitas_defakeq.export.export_card import (
    card_of,
    input_output_of,
    package_version,
    preprocessing_of,
    require_exportable,
)
from brevitas_defakeq.export.formats import get_format
from brevitas_defakeq.export.graph_writer import FileForm, write_graph
from brevitas_defakeq.export.qonnx_modules import QONNX_OPSET, qonnx_export_modules
from brevitas_defakeq.export.qonnx_runtime import compare_qonnx
from brevitas_defakeq.export.quiet_converters import quiet
from brevitas_defakeq.export.verification_images import evenly_spaced
from brevitas_defakeq.nn.module_tree import names_by_alias
from brevitas_defakeq.runtime.card import Card, card_beside
from brevitas_defakeq.utils.files import written_whole

if TYPE_CHECKING:
    from qonnx.core.modelwrapper import ModelWrapper

#: Where torch's exporter notes the modules that a node comes from, outermost first.
_SCOPES = "pkg.torch.onnx.name_scopes"
#: Images that the file is executed on; qonnx runs node by node.
QONNX_IMAGES = 8


def export_qonnx(
    result: QuantizedDetector,
    out: str | Path,
    *,
    variant: str = "quantized",
    verify: Tensor | None = None,
    licence: str | None = None,
) -> Card:
    """Write ``out/model.onnx`` (QONNX, one preprocessed image [1, 3, H, W] -> fake logit) and its card.

    Args:
        result: what ``quantize`` returned or ``load`` read, of any target.
        variant: "quantized" (M_q) or "mixed" (M_q^v: two widths in a layer, joined by Concat and Gather).
        verify: preprocessed images [N, 3, H, W]; qonnx executes the file on eight of them and the answers
            have to be torch's within 1e-5 of their range. None skips the check.
        licence: of the source weights, for the card.

    Raises:
        UserError: the extra ``fpga`` is missing, torch cannot export the detector, or the file disagrees
            with the model; then nothing is written.
    """
    require_exportable(result, variant, "qonnx")
    network = getattr(result, variant)
    model = qonnx_graph(result, network)
    checked = None
    if verify is not None:
        images = evenly_spaced(verify, QONNX_IMAGES)
        threshold = result.report["threshold"][variant]
        checked = compare_qonnx(model, network, result.observer, images, threshold)
        checked.require()
    file = model.SerializeToString()
    card = card_of(
        result, variant, input_output_of(result), format="qonnx", runtime=package_version("qonnx"),
        bytes={"file": len(file)}, patterns=Counter(node.op_type for node in model.graph.node),
        agreement=checked.to_dict() if checked else None, licence=licence,
    )  # fmt: skip
    path = Path(out) / "model.onnx"
    with written_whole(path) as partial:
        partial.write_bytes(file)
        card.write(card_beside(path))
    return card


def qonnx_graph(result: QuantizedDetector, network: nn.Module) -> ModelProto:
    """The cleaned graph of M_q or M_q^v.

    The Conv and MatMul nodes carry their layers' names (q, k and v of an attention are
    ``blocks.0.attn.qkv.q`` and so on), and the weights those names with ``.weight``.
    """
    get_format("qonnx").require_package()
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.util.cleanup import cleanup_model

    example = torch.zeros(1, 3, *preprocessing_of(result).input_size)
    modules = qonnx_export_modules(network, result.plan)
    model = write_graph(modules, FileForm(result.observer.logit, fixed_batch=True), example, QONNX_OPSET)
    _note_layers_(model, modules)
    _part_repeated_inputs_(model)
    with quiet():
        cleaned = cleanup_model(ModelWrapper(model))
    _drop_idle_nodes_(cleaned)
    _name_by_layer_(cleaned)
    return cleaned.model


def _part_repeated_inputs_(model: ModelProto) -> None:
    """Let no node read a value twice, such as x + x: qonnx renames the first of its inputs only."""
    for node in list(model.graph.node):
        for index, name in enumerate(node.input):
            if name and name in node.input[:index]:
                node.input[index] = f"{name}.{node.name}.{index}"
                position = list(model.graph.node).index(node)
                model.graph.node.insert(position, helper.make_node("Identity", [name], [node.input[index]]))


def _drop_idle_nodes_(model: "ModelWrapper") -> None:
    """A class token expanded to a batch of one, the absolute values of unsigned codes, copies: nothing."""
    for node in [node for node in model.graph.node if node.op_type in ("Expand", "Abs", "Identity")]:
        source, result = node.input[0], node.output[0]
        if not _is_idle(model, node) or model.find_consumers(result) is None:
            continue
        for reader in model.find_consumers(result):
            reader.input[:] = [source if name == result else name for name in reader.input]
        model.graph.node.remove(node)


def _is_idle(model: "ModelWrapper", node: NodeProto) -> bool:
    if node.op_type == "Identity":
        return True
    if node.op_type == "Expand":
        return model.get_tensor_shape(node.input[0]) == model.get_tensor_shape(node.output[0])
    maker = model.find_producer(node.input[0])
    return maker is not None and maker.op_type == "Quant" and not helper.get_node_attr_value(maker, "signed")


# Names -----------------------------------------------------------------------------------------------


def _note_layers_(model: ModelProto, modules: nn.Module) -> None:
    """Each product's layer into its doc_string, which qonnx's cleanup leaves alone (it renames the rest)."""
    layers = {
        f"form.{path}": name
        for path, name in names_by_alias(modules).items()
        if hasattr(modules.get_submodule(path), "weight_quant")
    }
    for node in model.graph.node:
        scopes = {entry.key: entry.value for entry in node.metadata_props}.get(_SCOPES, "['', '']")
        node.doc_string = ""
        del node.metadata_props[:]
        if node.op_type in ("Conv", "ConvTranspose", "MatMul"):
            node.doc_string = layers.get(literal_eval(scopes)[-2], "")


def _name_by_layer_(model: "ModelWrapper") -> None:
    """Products and their weights get back the names of their layers, ``.2`` and so on at a second call."""
    calls: Counter[str] = Counter()
    for node in model.graph.node:
        if not node.doc_string:
            continue
        calls[node.doc_string] += 1
        number = calls[node.doc_string]
        node.name, node.doc_string = node.doc_string + f".{number}" * (number > 1), ""
        for index, source in enumerate(_weight_sources(model, node.input[1])):
            model.rename_tensor(source, f"{node.name}.weight" + ".restored" * index)


def _weight_sources(model: "ModelWrapper", name: str) -> Iterator[str]:
    maker = model.find_producer(name)
    if maker is None:
        yield name
    elif maker.op_type == "Concat":
        for source in list(maker.input):
            yield from _weight_sources(model, source)
    else:
        yield from _weight_sources(model, maker.input[0])
