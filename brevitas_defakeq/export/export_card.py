"""What every exporter requires first, and the card that it writes last."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from brevitas_defakeq.artifact import QuantizedDetector
from brevitas_defakeq.export.formats import get_format
from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.provenance import provenance
from brevitas_defakeq.quant.activation_quantizer import activation_proxies, is_logarithmic
from brevitas_defakeq.runtime.card import Card, CardInput, CardOutput
from brevitas_defakeq.runtime.onnx_file import version_numbers
from brevitas_defakeq.utils.errors import UserError


def require_exportable(result: QuantizedDetector, variant: str, format: str) -> Preprocessing:
    """The run's preprocessing.

    Raises:
        UserError: the run has none, the format does not take the variant, its package is missing, or the
            variant has logarithmic activations.
    """
    preprocessing = preprocessing_of(result)
    chosen = get_format(format)
    chosen.require(variant)
    proxies = {} if variant == "float" else activation_proxies(getattr(result, variant))
    logarithmic = [name for name, proxy in proxies.items() if is_logarithmic(proxy)]
    if logarithmic:
        raise UserError(
            f"{format} has no form for the logarithmic activations of {logarithmic[0]} and "
            f'{len(logarithmic) - 1} more; quantize with activation_quantizer="uniform"'
        )
    chosen.require_package()
    return preprocessing


def preprocessing_of(result: QuantizedDetector) -> Preprocessing:
    """The run's preprocessing; UserError for a run made from tensors, which has none."""
    if result.preprocessing is None:
        raise UserError("this run was made from tensors; quantize with preprocessing= to export it")
    return result.preprocessing


def input_output_of(
    result: QuantizedDetector, *, pixels: bool = False, batch: int | None = None
) -> tuple[CardInput, CardOutput]:
    """What the file takes and what it returns.

    Args:
        pixels: uint8 RGB in, P(fake) out.
        batch: the one number of images that it takes at once; None for any.
    """
    preprocessing = preprocessing_of(result)
    crop = result.report["detector"].get("crop") or {}
    card_input = CardInput(
        size=preprocessing.input_size, layout="NHWC" if pixels else "NCHW",
        dtype="uint8" if pixels else "float32", mean=preprocessing.mean, std=preprocessing.std,
        interpolation=preprocessing.interpolation, fit=preprocessing.fit,
        crop=crop.get("kind"), crop_margin=crop.get("margin"), batch=batch,
    )  # fmt: skip
    return card_input, CardOutput(kind="probability" if pixels else "logit", fake_index=1)


def package_version(name: str) -> str:
    """The version of an installed package, numbers only: "1.5.1+cpu" is 1.5.1."""
    return ".".join(str(number) for number in version_numbers(version(name)))


def card_of(
    result: QuantizedDetector,
    variant: str,
    input_output: tuple[CardInput, CardOutput],
    *,
    format: str,
    runtime: str,
    bytes: Mapping[str, int],
    patterns: Mapping[str, int],
    agreement: dict[str, Any] | None,
    licence: str | None,
) -> Card:
    """The model card of an exported file.

    Args:
        input_output: of `input_output_of`.
        runtime: version of the runtime, numbers only, as in "1.18".
        bytes: kind of content -> bytes; "file" is the whole file.
        patterns: operator or pattern -> how often the file holds it.
        agreement: result of the check against the model as JSON, with ``images``, ``verdicts`` and
            ``difference``; None if there was none.
    """
    return Card(
        name=result.report["detector"]["name"],
        format=format,
        input=input_output[0],
        output=input_output[1],
        threshold=result.report["threshold"][variant],
        runtime=runtime,
        bits={} if variant == "float" else result.bits,
        bytes=dict(bytes),
        patterns=dict(patterns),
        auc=result.report["metrics"].get(variant),
        licence=licence,
        provenance={
            "run": result.report["provenance"], "export": provenance(result.config.seed),
            "agreement": agreement,
        },
    )  # fmt: skip
