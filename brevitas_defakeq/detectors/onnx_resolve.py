"""The detector in an ONNX file, with the user's options."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brevitas_defakeq.detectors.detector import Detector, identity_of, output_as_given
from brevitas_defakeq.detectors.onnx_detector import (
    folder_settings,
    import_onnx,
    onnx_preprocessing,
    onnx_settings,
    output_of,
)
from brevitas_defakeq.detectors.output import OutputSpec


def resolve_onnx(
    file: Path,
    name: str,
    model_args: Mapping[str, Any],
    given: Mapping[str, Any],
    *,
    output: OutputSpec | str | None,
    classes: Mapping[str, int],
    feature: str | None,
    from_quantized: bool,
) -> Detector:
    """The detector in a file.

    Args:
        name: what the user gave: the file, or the folder it is in.
        given: fields of `Preprocessing`; None where the user gave none.
        classes: ``fake_index`` or ``real_index``, if the user gave one.
    """
    beside = onnx_settings(file)
    settings = beside.preprocessing | {key: value for key, value in given.items() if value is not None}
    model, spec, graph = import_onnx(file, model_args, settings, from_quantized=from_quantized)
    said = bool(classes) or isinstance(output, OutputSpec)
    if not isinstance(output, OutputSpec):
        kind, key = output_of(spec, output)
        output = OutputSpec(kind, key=key)
    return Detector(
        model=model,
        name=spec["name"],
        preprocessing=onnx_preprocessing(file, spec, settings),
        output=output_as_given(output, output, classes if said else beside.classes),
        feature=feature,
        spec=spec | folder_settings(name),
        weights=identity_of([file]),
        crop=beside.crop,
        graph=graph,
    )
