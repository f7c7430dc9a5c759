"""``export_onnx``: a run becomes ``model.onnx`` and ``model_card.json``.

Standard ONNX operators only: unsigned 8-bit activations, weights packed at their own width, integer biases.
Any ONNX Runtime from ``RUNTIME`` on unpacks the weights as it loads the file and runs integer kernels.
"""

from collections import Counter
from pathlib import Path

import torch
from onnx import ModelProto
from torch import Tensor

from brevitas_defakeq.artifact import QuantizedDetector
from brevitas_defakeq.errors import UserError
from brevitas_defakeq.export.check import Agreement, agreement, fused_operators, require_agreement
from brevitas_defakeq.export.constants import Constants
from brevitas_defakeq.export.form import export_form
from brevitas_defakeq.export.graph import shorten_, write_graph
from brevitas_defakeq.export.quantized import fold_clips_, pack_weights_, pool_numbers_
from brevitas_defakeq.export.weights import coded_weight
from brevitas_defakeq.files import write_bytes
from brevitas_defakeq.nn.modules import modules_by_name
from brevitas_defakeq.provenance import provenance
from brevitas_defakeq.runtime.card import Card, CardInput, CardOutput, card_beside

#: The oldest ONNX Runtime that has every operator used here.
RUNTIME = "1.16"
_BATCH = 8


def export_onnx(
    result: QuantizedDetector,
    out: str | Path,
    *,
    form: str = "quantized",
    storage: str = "packed",
    verify: Tensor | None = None,
    licence: str | None = None,
) -> Card:
    """Write ``out/model.onnx`` and its card.

    Args:
        result: what ``quantize`` returned or ``load`` read.
        form: "quantized" (M_q) or "mixed" (M_q^v).
        storage: "packed" (codes at their own width) or "int8" (larger, nothing to unpack).
        verify: preprocessed images [N, 3, H, W] on which file and model have to agree; None skips the check.
        licence: of the source weights, for the card.

    Raises:
        UserError: a layer has no ONNX form, or the file disagrees with the model; then nothing is written.
    """
    if result.preprocessing is None:
        raise UserError("this run was made from tensors; quantize with preprocessing= to export it")
    if form not in ("quantized", "mixed") or storage not in ("packed", "int8"):
        raise UserError(f"form={form!r}, storage={storage!r}: choose quantized or mixed, packed or int8")
    model, used = build_onnx(result, form=form, storage=storage)
    file = model.SerializeToString()
    threshold = result.report["threshold"][form]
    checked = None
    if verify is not None:
        network = getattr(result, form)
        checked = agreement(file, network, result.observer, verify.split(_BATCH), threshold)
        require_agreement(checked)
    stored = sum(tensor.ByteSize() for tensor in model.graph.initializer)
    card = _card(result, form, threshold, file, stored, used, checked, licence)
    path = Path(out) / "model.onnx"
    write_bytes(path, file)
    card.write(card_beside(path))
    return card


def build_onnx(result: QuantizedDetector, *, form: str, storage: str) -> tuple[ModelProto, Counter]:
    """The graph in memory, and how often each pattern was used."""
    network = getattr(result, form)
    example = torch.zeros(2, 3, *result.preprocessing.input_size)
    model = write_graph(export_form(network, result.plan, example[:1]), result.observer.logit, example)
    modules = modules_by_name(network)
    weights = {
        f"form.{layer.name}.weight": coded_weight(modules[layer.name], result.bits[layer.name])
        for layer in result.plan.layers
    }
    constants = Constants()
    fold_clips_(model)
    used = pack_weights_(model, weights, constants, packed=storage == "packed")
    pool_numbers_(model, constants)
    constants.write_(model)
    shorten_(model)
    return model, used


def _card(
    result: QuantizedDetector, form: str, threshold: float, file: bytes, stored: int, used: Counter,
    checked: Agreement | None, licence: str | None,
) -> Card:  # fmt: skip
    preprocessing = result.preprocessing
    runs = {f"runs as {name}": count for name, count in fused_operators(file).items()}
    return Card(
        name=result.report["detector"]["name"],
        input=CardInput(
            size=preprocessing.input_size, layout="NCHW", dtype="float32", mean=preprocessing.mean,
            std=preprocessing.std, interpolation=preprocessing.interpolation, crop_margin=None,
        ),
        output=CardOutput(kind="logit", fake_index=1),
        threshold=threshold,
        runtime=RUNTIME,
        bits=result.bits,
        bytes={"file": len(file), "weights and constants": stored, "graph": len(file) - stored},
        patterns=dict(used) | runs,
        auc=result.report["metrics"].get(form),
        licence=licence,
        provenance={
            "run": result.report["provenance"], "export": provenance(result.config.seed),
            "agreement": checked.to_dict() if checked else None,
        },
    )  # fmt: skip
