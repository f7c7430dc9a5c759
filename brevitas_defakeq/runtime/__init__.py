"""Runs exported detectors on the device with numpy, pillow and onnxruntime; no torch.

>>> from brevitas_defakeq.runtime import predict
>>> predict("exported/model.onnx", ["face.jpg"])  # doctest: +SKIP
[Verdict(fake_probability=0.93, logit=2.6, is_fake=True)]
"""

from brevitas_defakeq.runtime.card import Card, CardInput, CardOutput
from brevitas_defakeq.runtime.exported_detector import ExportedDetector
from brevitas_defakeq.runtime.latency import latency
from brevitas_defakeq.runtime.verdict import Verdict, predict
from brevitas_defakeq.runtime.yunet import FaceFinder
from brevitas_defakeq.utils.errors import UserError

__all__ = [
    "Card", "CardInput", "CardOutput", "ExportedDetector", "FaceFinder", "UserError", "Verdict", "latency",
    "predict",
]  # fmt: skip
