"""``export_qonnx``: a run as faithful QONNX, ``model.onnx`` and ``model_card.json``.

Every quantizer is a ``Quant`` node with constant scale, zero point and width; a weight is its codes times its
scale, with learned rounding in it. The file is cleaned by qonnx, executed by qonnx, and held against torch.
"""

from ast import literal_eval
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from onnx import ModelProto, NodeProto, helper
from torch import Tensor, nn

from brevitas_defakeq.artifact import WEIGHTS_FILES, QuantizedDetector
from brevitas_defakeq.export.export_card import card_of, ends, package_version, require_form
from brevitas_defakeq.export.graph_writer import write_graph
from brevitas_defakeq.export.qonnx_modules import QONNX_OPSET, qonnx_export_modules
from brevitas_defakeq.export.qonnx_runtime import compared, require_qonnx
from brevitas_defakeq.export.quiet_converters import quiet
from brevitas_defakeq.export.verification_images import some
from brevitas_defakeq.runtime.card import Card, card_beside
from brevitas_defakeq.utils.files import written_whole

#: Where torch's exporter notes the modules that a node comes from, outermost first.
_SCOPES = "pkg.torch.onnx.name_scopes"
#: Images that the file is executed on; qonnx runs node by node.
IMAGES = 8


def export_qonnx(
    result: QuantizedDetector,
    out: str | Path,
    *,
    form: str = "quantized",
    verify: Tensor | None = None,
    licence: str | None = None,
) -> Card:
    """Write ``out/model.onnx`` (QONNX, one preprocessed image [1, 3, H, W] -> fake logit) and its card.

    Args:
        result: what ``quantize`` returned or ``load`` read, of any target.
        form: "quantized" (M_q) or "mixed" (M_q^v: two widths in a layer, put together by Concat and Gather).
        verify: preprocessed images [N, 3, H, W]; qonnx executes the file on eight of them and the answers
            have to be torch's within 1e-5 of their range. None skips the check.
        licence: of the source weights, for the card.

    Raises:
        UserError: the extra ``fpga`` is missing, torch cannot export the detector, or the file disagrees
            with the model; then nothing is written.
    """
    require_form(result, form, tuple(WEIGHTS_FILES))
    network = getattr(result, form)
    model = qonnx_graph(result, network)
    checked = None
    if verify is not None:
        images = some(verify, IMAGES)
        checked = compared(model, network, result.observer, images, result.report["threshold"][form])
        checked.require()
    file = model.SerializeToString()
    card = card_of(
        result, form, ends(result), format="qonnx", runtime=package_version("qonnx"), agreement=checked,
        bytes={"file": len(file)}, patterns=Counter(node.op_type for node in model.graph.node),
        licence=licence,
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
    require_qonnx()
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.util.cleanup import cleanup_model

    example = torch.zeros(1, 3, *result.preprocessing.input_size)
    exported = qonnx_export_modules(network, result.plan)
    model = write_graph(exported, result.observer.logit, example, QONNX_OPSET, fixed_batch=True)
    _note_layers_(model, exported)
    with quiet():
        cleaned = cleanup_model(ModelWrapper(model))
    _drop_idle_nodes_(cleaned)
    _name_by_layer_(cleaned)
    return cleaned.model


def _drop_idle_nodes_(model) -> None:
    """A class token expanded to a batch of one, and the absolute values of unsigned codes: nothing."""
    for node in [node for node in model.graph.node if node.op_type in ("Expand", "Abs")]:
        source, result = node.input[0], node.output[0]
        if not _is_idle(model, node) or model.find_consumers(result) is None:
            continue
        for reader in model.find_consumers(result):
            reader.input[:] = [source if name == result else name for name in reader.input]
        model.graph.node.remove(node)


def _is_idle(model, node: NodeProto) -> bool:
    if node.op_type == "Expand":
        return model.get_tensor_shape(node.input[0]) == model.get_tensor_shape(node.output[0])
    maker = model.find_producer(node.input[0])
    return maker is not None and maker.op_type == "Quant" and not helper.get_node_attr_value(maker, "signed")


# Names -----------------------------------------------------------------------------------------------


def _note_layers_(model: ModelProto, form: nn.Module) -> None:
    """Each product's layer into its doc_string, which qonnx's cleanup leaves alone (it renames the rest)."""
    layers = {f"form.{name}": name for name, part in form.named_modules() if hasattr(part, "weight_quant")}
    for node in model.graph.node:
        scopes = {entry.key: entry.value for entry in node.metadata_props}.get(_SCOPES, "['', '']")
        node.doc_string = ""
        del node.metadata_props[:]
        if node.op_type in ("Conv", "MatMul"):
            node.doc_string = layers.get(literal_eval(scopes)[-2], "")


def _name_by_layer_(model) -> None:
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


def _weight_sources(model, name: str) -> Iterator[str]:
    maker = model.find_producer(name)
    if maker is None:
        yield name
    elif maker.op_type == "Concat":
        for part in list(maker.input):
            yield from _weight_sources(model, part)
    else:
        yield from _weight_sources(model, maker.input[0])
