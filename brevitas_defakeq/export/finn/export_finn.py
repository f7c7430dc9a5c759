"""``export_finn``: a run as an integer graph that FINN maps, and a description of the host's arithmetic."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from brevitas_defakeq.artifact import QuantizedDetector
from brevitas_defakeq.export.export_card import input_output_of, require_exportable
from brevitas_defakeq.export.finn.findings import Finding, unmappable
from brevitas_defakeq.export.qonnx import QONNX_IMAGES, qonnx_graph
from brevitas_defakeq.export.quiet_converters import quiet
from brevitas_defakeq.export.verification_images import evenly_spaced
from brevitas_defakeq.prepare.kept_float import KEPT_FLOAT
from brevitas_defakeq.provenance import provenance
from brevitas_defakeq.runtime.json_records import plain
from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import write_json, written_whole

if TYPE_CHECKING:
    from brevitas_defakeq.export.finn.finn_profile import FinnProfile

HOST_FORMAT_VERSION = 1
HOST_FILE_NAME = "host.json"


def export_finn(
    result: QuantizedDetector,
    out: str | Path,
    *,
    variant: str = "quantized",
    verify: Tensor | None = None,
) -> dict:
    """Write ``out/model.onnx``, the integer core, and ``out/host.json``, the host's arithmetic around it.

    The graph's input is ``code - zero_point`` of the image's quantizer, float32 [1, 3, H, W], annotated with
    its integer type; its output is the head's integers; ``logit = sum(output * scale) + bias``.

    Args:
        result: from ``quantize`` or ``load``.
        variant: "quantized" (M_q) or "mixed" (M_q^v: restored channels in layers of their own).
        verify: preprocessed images [N, 3, H, W]; on eight of them the profile's logit must equal the QONNX
            graph's within 1e-5 of the outputs' range. None skips the check.

    Returns:
        the content of ``host.json``.

    Raises:
        UserError: the extra ``fpga`` is missing, a layer cannot be mapped, or the profile differs. Nothing is
            written then.
    """
    require_mappable(_kept_in_float(result))
    require_exportable(result, variant, "finn")
    written = qonnx_graph(result, getattr(result, variant))
    from brevitas_defakeq.export.finn.check_finn import check_graph
    from brevitas_defakeq.export.finn.finn_profile import finn_profile, normalize_qonnx
    from brevitas_defakeq.export.finn.profile_agreement import verify_profile

    with quiet():
        graph = normalize_qonnx(written)
        require_mappable(check_graph(graph, result.config.target))
        profile = finn_profile(graph)
        checked = None
        if verify is not None:
            images = evenly_spaced(verify, QONNX_IMAGES).numpy()
            checked = verify_profile(graph, profile, images).to_dict()
    host = _host(result, variant, profile, checked)
    path = Path(out) / "model.onnx"
    with written_whole(path) as partial:
        partial.write_bytes(profile.model.SerializeToString())
        write_json(path.with_name(HOST_FILE_NAME), host)
    return host


def check_finn(result: QuantizedDetector, *, variant: str = "quantized") -> list[Finding]:
    """What prevents a run of any target from being mapped, and what its zero points cost; writes nothing.

    Args:
        result: from ``quantize`` or ``load``.
        variant: "quantized" (M_q) or "mixed" (M_q^v).

    Raises:
        UserError: the extra ``fpga`` is missing, or torch cannot export the detector.
    """
    require_exportable(result, variant, "finn")
    written = qonnx_graph(result, getattr(result, variant))
    from brevitas_defakeq.export.finn.check_finn import check_graph
    from brevitas_defakeq.export.finn.finn_profile import normalize_qonnx

    with quiet():
        return _kept_in_float(result) + check_graph(normalize_qonnx(written), result.config.target)


def _kept_in_float(result: QuantizedDetector) -> list[Finding]:
    """A finding for each module that the run keeps in float."""
    return [
        Finding(
            name, "Layer", "cannot", f"it is {reason}: FINN multiplies integers",
            "quantize without it, or compute it on the host before the detector",
        )
        for name, reason in result.plan.left_float.items()
        if reason == KEPT_FLOAT
    ]  # fmt: skip


def require_mappable(findings: list[Finding]) -> None:
    """Raises UserError with the first of the findings that prevent the mapping."""
    refused = unmappable(findings)
    if refused:
        raise UserError(
            f"{refused[0].line()} ({len(refused)} such problems; `defakeq export RUN --format finn "
            "--check` lists all); nothing was written"
        )


def _host(
    result: QuantizedDetector, variant: str, profile: "FinnProfile", checked: dict | None
) -> dict[str, Any]:
    """The content of ``host.json``, in plain JSON types."""
    given, _ = input_output_of(result)
    height, width = given.size
    return {
        "format_version": HOST_FORMAT_VERSION,
        "name": result.report["detector"]["name"],
        "form": variant,
        "input": plain(
            {
                "shape": [1, 3, height, width], **profile.input.to_dict(), "mean": given.mean,
                "std": given.std, "interpolation": given.interpolation, "fit": given.fit, "crop": given.crop,
                "crop_margin": given.crop_margin,
            }
        ),
        "output": {**profile.output.to_dict(), "threshold": result.report["threshold"][variant]},
        "bits": result.bits,
        "agreement": checked,
        "provenance": provenance(result.config.seed),
    }  # fmt: skip
