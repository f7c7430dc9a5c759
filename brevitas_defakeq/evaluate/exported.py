"""Figures of an exported file, run by onnxruntime as a device runs it."""

from pathlib import Path

import numpy as np

from brevitas_defakeq.data.sources import read_source
from brevitas_defakeq.evaluate.compare import labelled
from brevitas_defakeq.evaluate.labelled import check_labelled
from brevitas_defakeq.runtime.session import Detector
from brevitas_defakeq.runtime.verdict import predict

_BATCH = 16


def evaluate_exported(model: str | Path, data: str | Path, *, threads: int | None = None) -> dict:
    """The figures of ``evaluate`` for a ``model.onnx`` with its card beside it.

    Args:
        data: labelled images: folder with ``real/`` and ``fake/``, or CSV.
        threads: threads within an operator; None lets onnxruntime choose.
    """
    detector = Detector(model, threads=threads)
    samples = read_source(data)
    check_labelled(samples, data)
    verdicts = predict(detector, [sample.path for sample in samples], batch_size=_BATCH)
    scores = np.array([verdict.logit for verdict in verdicts])
    return labelled(scores, detector.card.threshold, samples)
