"""A folder as `transformers.js` reads it: ``onnx/model_q3.onnx`` and the settings that came in."""

from pathlib import Path

from torch import Tensor

from brevitas_defakeq.artifact import QuantizedDetector
from brevitas_defakeq.export.onnx import export_onnx
from brevitas_defakeq.runtime.card import Card
from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import write_json


def export_transformersjs(
    result: QuantizedDetector,
    out: str | Path,
    *,
    variant: str = "quantized",
    storage: str = "packed",
    runtime: str | None = None,
    verify: Tensor | None = None,
    licence: str | None = None,
) -> Card:
    """Write ``out/onnx/model_q3.onnx`` (3: the rounded average width), its card, and the folder's settings.

    Load it with ``{model_file_name: "model_q3", dtype: "fp32"}``. The arguments are `export_onnx`'s.

    Raises:
        UserError: the run was not made from such a folder, or `export_onnx` refuses.
    """
    settings = result.spec.get("folder")
    if not settings:
        raise UserError("the run was not made from a transformers.js folder; export it as onnx")
    folder = Path(out) / "onnx"
    card = export_onnx(
        result, folder, variant=variant, storage=storage, runtime=runtime, verify=verify, licence=licence
    )
    name = f"model_q{round(result.report['average_bits'])}{'_mixed' if variant == 'mixed' else ''}.onnx"
    (folder / "model.onnx").replace(folder / name)
    for file, content in settings.items():
        write_json(Path(out) / file, content)
    return card
