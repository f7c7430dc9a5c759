"""DeFakeQ on Brevitas: deepfake detectors at about a tenth of their size.

>>> from brevitas_defakeq import DefakeQConfig, quantize
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

#: Public name -> the module it lives in; imported on first use, so that ``import brevitas_defakeq`` is quick.
_PUBLIC = {
    "Adapter": "brevitas_defakeq.detectors.adapter",
    "quantize": "brevitas_defakeq.api",
    "evaluate": "brevitas_defakeq.evaluation.evaluate_run",
    "load": "brevitas_defakeq.artifact",
    "QuantizedDetector": "brevitas_defakeq.artifact",
    "DefakeQConfig": "brevitas_defakeq.config",
    "UserError": "brevitas_defakeq.utils.errors",
    "check_finn": "brevitas_defakeq.export.finn.export_finn",
    "export_finn": "brevitas_defakeq.export.finn.export_finn",
    "export_mobile": "brevitas_defakeq.export.mobile",
    "export_onnx": "brevitas_defakeq.export.onnx",
    "export_qonnx": "brevitas_defakeq.export.qonnx",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
