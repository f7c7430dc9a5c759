"""``export_mobile``: a run for ExecuTorch, LiteRT or Core ML, and its card."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from torch import Tensor, nn

from brevitas_defakeq.artifact import WEIGHTS_FILES, QuantizedDetector
from brevitas_defakeq.export import coreml, executorch, litert
from brevitas_defakeq.export.agreement import Agreement, agreement, require_agreement
from brevitas_defakeq.export.export_card import card_of, ends, require_form
from brevitas_defakeq.export.integer_modules import integer_export_modules
from brevitas_defakeq.export.quiet_converters import quiet
from brevitas_defakeq.runtime.card import Card, card_beside
from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import size_on_disk, written_whole

#: Name of the format and of the extra that brings its converter -> how it is written and run.
FORMATS: Mapping[str, ModuleType] = {"executorch": executorch, "litert": litert, "coreml": coreml}


def export_mobile(
    result: QuantizedDetector,
    out: str | Path,
    *,
    format: str,
    form: str = "quantized",
    verify: Tensor | None = None,
    licence: str | None = None,
) -> Card:
    """Write ``out/model.pte``, ``model.tflite`` or ``model.mlpackage`` and the card: [1, 3, H, W] -> logit.

    Args:
        result: what ``quantize`` returned or ``load`` read.
        format: "executorch", "litert" or "coreml"; each needs the extra of that name.
        form: "quantized" (M_q) or "mixed" (M_q^v).
        verify: preprocessed images [N, 3, H, W] on which file and model have to agree; None skips the check,
            and Core ML's files run on Apple's systems only.
        licence: of the source weights, for the card.

    Raises:
        UserError: the extra is missing, the converter does not know an operator, or the file disagrees with
            the model; then nothing is written.
    """
    require_form(result, form, tuple(WEIGHTS_FILES))
    if format not in FORMATS:
        raise UserError(f"format={format!r}: choose of onnx, qonnx, {', '.join(FORMATS)}")
    runtime = FORMATS[format]
    if importlib.util.find_spec(runtime.PACKAGE) is None:
        raise UserError(
            f"{format} needs {runtime.PACKAGE}: pip install 'brevitas_defakeq[{format}]', best in an "
            "environment of its own"
        )
    network, path = getattr(result, form), Path(out) / runtime.FILE
    with written_whole(path) as partial:
        patterns = _convert(runtime, result, network, partial)
        checked = None
        if verify is not None and hasattr(runtime, "run"):
            checked = _checked(runtime, partial, result, network, form, verify)
        card = card_of(
            result, form, ends(result), format=format, runtime=runtime.version(),
            bytes={"file": size_on_disk(partial)}, patterns=patterns, agreement=checked, licence=licence,
        )  # fmt: skip
        card.write(card_beside(path))
    return card


def _convert(runtime: ModuleType, result: QuantizedDetector, network: nn.Module, path: Path) -> Mapping:
    converted, weights = integer_export_modules(result, network, runtime.LAYERS)
    example = next(network.parameters()).new_zeros(1, 3, *result.preprocessing.input_size)
    try:
        with quiet():
            return runtime.write(converted, weights, example, path)
    except OSError:
        raise  # the disk's, with its own line
    except Exception as error:  # three converters, no common base
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{runtime.PACKAGE} cannot convert this detector: {reason[0]}") from error


def _checked(
    runtime: ModuleType, path: Path, result: QuantizedDetector, network: nn.Module, form: str, images: Tensor
) -> Agreement:
    with quiet():
        files = [runtime.run(path)]
        threshold = result.report["threshold"][form]
        found = agreement(files, network, result.observer, images, threshold, ends(result))
    require_agreement(found)
    return found
