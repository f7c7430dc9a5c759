"""``export_onnx``: a run becomes ``model.onnx``, or ``model.onnx.gz``, and ``model_card.json``.

Standard ONNX operators only: unsigned 8-bit activations, weights packed at their own width, integer biases.
Any ONNX Runtime from ``RUNTIME`` on unpacks the weights as it loads the file and runs integer kernels.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from onnx import ModelProto
from torch import Tensor, nn

from brevitas_defakeq.artifact import QuantizedDetector
from brevitas_defakeq.export.agreement import compare_with_model, optimized, ort_run
from brevitas_defakeq.export.batch_size import batch_of, write_batch_graph
from brevitas_defakeq.export.constant_pool import Constants, stretches
from brevitas_defakeq.export.export_card import card_of, preprocessing_of, require_exportable
from brevitas_defakeq.export.file_form import file_contract, form_of, restore_edges_
from brevitas_defakeq.export.graph_writer import FileForm, shorten_
from brevitas_defakeq.export.integer_weights import integer_weight
from brevitas_defakeq.export.onnx_modules import ONNX_OPSET, onnx_export_modules
from brevitas_defakeq.export.pixel_input import take_pixels_
from brevitas_defakeq.export.weight_packing import absent_weights, fold_clips_, pack_weights_, pool_numbers_
from brevitas_defakeq.float_reference import as_planned
from brevitas_defakeq.nn.module_tree import flag_set, modules_by_name, weight_of
from brevitas_defakeq.prepare.trace import tensors_in
from brevitas_defakeq.runtime.card import Card, card_beside
from brevitas_defakeq.runtime.onnx_file import is_version, open_session, version_numbers
from brevitas_defakeq.utils.deflate import gunzipped, gzipped
from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import written_whole

#: The oldest ONNX Runtime that has every operator of an integer file, and of a float one.
RUNTIME, FLOAT_RUNTIME = "1.16", "1.18"
#: Operator set of the float file: the one that torch writes the fastest graphs in.
_FLOAT_OPSET = 21
_STORAGES = ("packed", "int8")
#: What ``compress`` writes in place of ``model.onnx``.
COMPRESSED_NAME = "model.onnx.gz"


def export_onnx(
    result: QuantizedDetector,
    out: str | Path,
    *,
    variant: str = "quantized",
    storage: str = "packed",
    pixels: bool = False,
    compress: bool = False,
    runtime: str | None = None,
    verify: Tensor | None = None,
    licence: str | None = None,
    float_model: nn.Module | None = None,
) -> Card:
    """Write ``out/model.onnx`` and its card.

    Args:
        result: what ``quantize`` returned or ``load`` read.
        variant: "quantized" (M_q), "mixed" (M_q^v) or "float", to compare with.
        storage: "packed" (codes at their own width) or "int8" (larger, nothing to unpack).
        pixels: preprocess inside the graph: uint8 RGB [N, H, W, 3] of any size in, P(fake) out.
        compress: write ``out/model.onnx.gz`` instead, with the codes laid out for it.
        runtime: the oldest onnxruntime that has to run the file, as in "1.18"; None: any.
        verify: preprocessed images [N, 3, H, W] on which file and model have to agree; None skips the check.
        licence: of the source weights, for the card.
        float_model: the float detector, for ``variant="float"``: a run holds no float weights.

    Raises:
        UserError: ONNX cannot hold a layer, or the file disagrees with the model; then nothing is written.
    """
    require_exportable(result, variant, "onnx")
    if storage not in _STORAGES:
        raise UserError(f"storage={storage!r}: choose of {', '.join(_STORAGES)}")
    oldest = FLOAT_RUNTIME if variant == "float" else RUNTIME
    require_runtime(runtime, oldest)
    network = _network(result, variant, float_model)
    if variant == "float":
        graph = float_graph(result, network, pixels)
    else:
        packed = storage == "packed"
        graph = coded_graph(result, network, pixels, packed=packed, compressible=compress)
    path = Path(out) / (COMPRESSED_NAME if compress else "model.onnx")
    content = gzipped(graph.parts) if compress else graph.model.SerializeToString()
    file = gunzipped(content, path) if compress else content
    sent = {path.name: len(content)} if compress else {}
    session, operators = optimized(file)
    classes = session.get_outputs()[0].shape[-1:] or [1]
    input_output = file_contract(result, pixels=pixels, classes=classes[0], batch=batch_of(graph.model))
    checked = None
    if verify is not None:
        files = [ort_run(session), ort_run(open_session(file, optimize=False))]
        threshold = result.report["threshold"][variant]
        checked = compare_with_model(files, network, result.observer, verify, threshold, input_output)
        checked.require()
    card = card_of(
        result, variant, input_output, format="onnx", runtime=oldest,
        bytes={"file": len(file), **sent, **graph.sizes, "graph": len(file) - graph.sizes.total()},
        patterns={**graph.patterns, **{f"runs as {name}": n for name, n in operators.items()}},
        agreement=checked.to_dict() if checked else None, licence=licence,
    )  # fmt: skip
    with written_whole(path) as partial:
        partial.write_bytes(content)
        card.write(card_beside(path))  # here, so that a disk that is full by now leaves neither
    return card


def compressed_size(result: QuantizedDetector) -> int:
    """Bytes of M_q's ``model.onnx.gz``. Raises UserError where there is none."""
    require_exportable(result, "quantized", "onnx")
    return len(gzipped(coded_graph(result, result.quantized, False, packed=True, compressible=True).parts))


def _network(result: QuantizedDetector, variant: str, float_model: nn.Module | None) -> nn.Module:
    """The variant's module; UserError for "float" without ``float_model``."""
    if variant != "float":
        network: nn.Module = getattr(result, variant)
        return network
    if float_model is None:
        raise UserError("a run holds no float weights; give float_model=")
    return as_planned(float_model.eval(), result.plan)


@dataclass(frozen=True)
class OnnxGraph:
    """A graph in memory, how often each pattern is in it, and bytes of its initializers by kind.

    ``groups`` are the kind and the width of each initializer.
    """

    model: ModelProto
    patterns: Counter[str]
    sizes: Counter[str]
    groups: list[tuple[str, float]]

    @property
    def parts(self) -> list[bytes]:
        """The file in parts that are alike."""
        return stretches(self.model, self.groups)


def coded_graph(
    result: QuantizedDetector, network: nn.Module, pixels: bool, *, packed: bool, compressible: bool = False
) -> OnnxGraph:
    """M_q or M_q^v with integer weights; ``compressible``: laid out for an entropy coder."""
    example = _example(result)
    modules = modules_by_name(network)
    weights = {
        f"form.{layer.name}.weight": integer_weight(modules[layer.name], result.bits[layer.name])
        for layer in result.plan.layers
    }
    converted = onnx_export_modules(network, result.plan, example)
    form, constants = form_of(result, pixels=pixels), Constants(compressible=compressible)
    model = write_batch_graph(converted, form, example, ONNX_OPSET)
    fold_clips_(model)
    unread = _without_effect(network, form, example, absent_weights(model, weights))
    weights = {name: weight for name, weight in weights.items() if name not in unread}
    patterns = pack_weights_(model, weights, constants, packed=packed)
    pool_numbers_(model, constants)
    return _finished(model, constants, patterns, result, pixels)


def _without_effect(
    network: nn.Module, form: FileForm, example: Tensor, weights: Sequence[str]
) -> set[str]:  # fmt: skip
    """Those of the weights, named as in the graph, that no output of the file depends on: of another head."""
    if not weights:
        return set()
    layers = modules_by_name(network)
    held = [weight_of(layers[name.removeprefix("form.").removesuffix(".weight")]) for name in weights]
    with flag_set(held, "requires_grad"), torch.enable_grad():
        outputs = list(tensors_in(form.read(network(example))))
        reached = [output.double().sum() for output in outputs if output.requires_grad]
        found: Sequence[Tensor | None] = [None] * len(held)
        if reached:
            found = torch.autograd.grad(reached, held, allow_unused=True)
    return {name for name, gradient in zip(weights, found, strict=True) if gradient is None}


def float_graph(result: QuantizedDetector, network: nn.Module, pixels: bool) -> OnnxGraph:
    """The float detector, as torch writes it."""
    model = write_batch_graph(network, form_of(result, pixels=pixels), _example(result), _FLOAT_OPSET)
    return _finished(model, Constants(), Counter(), result, pixels)


def _finished(
    model: ModelProto, constants: Constants, patterns: Counter[str], result: QuantizedDetector, pixels: bool
) -> OnnxGraph:
    if pixels:
        take_pixels_(model, preprocessing_of(result), constants)
    restore_edges_(model, result, pixels=pixels)
    sizes = constants.write_(model)
    shorten_(model)
    return OnnxGraph(model, patterns, sizes, constants.groups)


def _example(result: QuantizedDetector) -> Tensor:
    return torch.zeros(1, 3, *preprocessing_of(result).input_size)


def require_runtime(asked: str | None, needed: str) -> None:
    """Raises UserError where the file needs a newer onnxruntime than the user has to support."""
    if asked is None:
        return
    if not is_version(asked):
        raise UserError(f'runtime {asked!r}: give an onnxruntime version, as in "1.18"')
    if version_numbers(asked) < version_numbers(needed):
        raise UserError(
            f"runtime {asked}: the file's operators need onnxruntime {needed} or newer; upgrade the device's"
        )
