"""Correct use of the public API; type checkers accept it and know every type in it."""

from pathlib import Path
from typing import assert_type

from torch import Tensor, nn

from brevitas_defakeq import (
    Adapter,
    DefakeQConfig,
    QuantizedDetector,
    UserError,
    check_finn,
    evaluate,
    export_finn,
    export_mobile,
    export_onnx,
    export_qonnx,
    load,
    quantize,
)


def run(model: nn.Module, images: Tensor, folder: Path) -> dict:
    config = DefakeQConfig(average_bits=3, candidate_bits=(2, 4, 8), target="mobile")
    assert_type(config.average_bits, float | None)
    result = quantize(Adapter(model, output="cls"), images, config, out=folder)
    assert_type(result, QuantizedDetector)
    assert_type(load(folder), QuantizedDetector)
    assert_type(result.bits, dict[str, float])
    try:
        card = export_onnx(result, folder / "onnx", storage="int8")
    except UserError as error:
        raise SystemExit(str(error)) from None
    assert_type(card.threshold, float)
    export_qonnx(result, folder / "qonnx", verify=images)
    export_mobile(result, folder / "phone", format="litert")
    assert_type([finding.layer for finding in check_finn(result)], list[str])
    assert_type(export_finn(result, folder / "finn"), dict)
    return evaluate(result, "faces")
