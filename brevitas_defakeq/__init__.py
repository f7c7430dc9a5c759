"""DeFakeQ on Brevitas: quantize deepfake detectors to about a tenth of their size.

>>> from brevitas_defakeq import DefakeQConfig, quantize
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from brevitas_defakeq.api import quantize as quantize
    from brevitas_defakeq.artifact import QuantizedDetector as QuantizedDetector
    from brevitas_defakeq.artifact import load as load
    from brevitas_defakeq.config import DefakeQConfig as DefakeQConfig
    from brevitas_defakeq.detectors.adapter import Adapter as Adapter
    from brevitas_defakeq.evaluation.evaluate_run import evaluate as evaluate
    from brevitas_defakeq.export.finn.export_finn import check_finn as check_finn
    from brevitas_defakeq.export.finn.export_finn import export_finn as export_finn
    from brevitas_defakeq.export.mobile import export_mobile as export_mobile
    from brevitas_defakeq.export.onnx import export_onnx as export_onnx
    from brevitas_defakeq.export.qonnx import export_qonnx as export_qonnx
    from brevitas_defakeq.utils.errors import UserError as UserError

__version__ = "0.1.0"

__all__ = [
    "Adapter", "DefakeQConfig", "QuantizedDetector", "UserError", "__version__", "check_finn", "evaluate",
    "export_finn", "export_mobile", "export_onnx", "export_qonnx", "load", "quantize",
]  # fmt: skip

#: Public name -> its module, imported on first use, so that ``import brevitas_defakeq`` is fast. The imports
#: above give type checkers and editors the same names.
_MODULES = {
    "Adapter": "detectors.adapter",
    "DefakeQConfig": "config",
    "QuantizedDetector": "artifact",
    "UserError": "utils.errors",
    "check_finn": "export.finn.export_finn",
    "evaluate": "evaluation.evaluate_run",
    "export_finn": "export.finn.export_finn",
    "export_mobile": "export.mobile",
    "export_onnx": "export.onnx",
    "export_qonnx": "export.qonnx",
    "load": "artifact",
    "quantize": "api",
}

if not TYPE_CHECKING:  # a type checker would take any misspelt name for one that this function provides

    def __getattr__(name):
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
