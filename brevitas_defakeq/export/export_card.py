"""What every export checks first and says at its end."""

from collections.abc import Mapping
from importlib.metadata import version

from brevitas_defakeq.artifact import QuantizedDetector
from brevitas_defakeq.export.agreement import Agreement
from brevitas_defakeq.provenance import provenance
from brevitas_defakeq.runtime.card import Card, CardInput, CardOutput
from brevitas_defakeq.runtime.onnx_file import version_numbers
from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.variants import VARIANTS


def require_form(result: QuantizedDetector, form: str, forms: tuple[str, ...] = VARIANTS) -> None:
    """Raises UserError for a run without preprocessing or a form that is not there."""
    if result.preprocessing is None:
        raise UserError("this run was made from tensors; quantize with preprocessing= to export it")
    if form not in forms:
        raise UserError(f"form={form!r}: choose of {', '.join(forms)}")


def ends(result: QuantizedDetector, *, pixels: bool = False) -> tuple[CardInput, CardOutput]:
    """What the file takes and what it gives."""
    preprocessing = result.preprocessing
    crop = result.report["detector"].get("crop") or {}
    given = CardInput(
        size=preprocessing.input_size, layout="NHWC" if pixels else "NCHW",
        dtype="uint8" if pixels else "float32", mean=preprocessing.mean, std=preprocessing.std,
        interpolation=preprocessing.interpolation, fit=preprocessing.fit,
        crop=crop.get("kind"), crop_margin=crop.get("margin"),
    )  # fmt: skip
    return given, CardOutput(kind="probability" if pixels else "logit", fake_index=1)


def package_version(name: str) -> str:
    """Of an installed package, numbers only: "1.5.1+cpu" is 1.5.1."""
    return ".".join(str(number) for number in version_numbers(version(name)))


def card_of(
    result: QuantizedDetector,
    form: str,
    between: tuple[CardInput, CardOutput],
    *,
    format: str,
    runtime: str,
    bytes: Mapping[str, int],
    patterns: Mapping[str, int],
    agreement: Agreement | None,
    licence: str | None,
) -> Card:
    """The model card of an exported file; ``between``: its ends."""
    return Card(
        name=result.report["detector"]["name"],
        format=format,
        input=between[0],
        output=between[1],
        threshold=result.report["threshold"][form],
        runtime=runtime,
        bits={} if form == "float" else result.bits,
        bytes=dict(bytes),
        patterns=dict(patterns),
        auc=result.report["metrics"].get(form),
        licence=licence,
        provenance={
            "run": result.report["provenance"], "export": provenance(result.config.seed),
            "agreement": agreement.to_dict() if agreement else None,
        },
    )  # fmt: skip
