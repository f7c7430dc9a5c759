"""A detector that was rebuilt from an ONNX file against that file in ONNX Runtime."""

import numpy as np
import torch
from torch import Tensor

from brevitas_defakeq.detectors.onnx_detector import graph_interface
from brevitas_defakeq.detectors.resolve import Detector
from brevitas_defakeq.runtime.onnx_file import open_session
from brevitas_defakeq.utils.errors import UserError, one_line

#: Largest difference of the scores over their spread.
_LARGEST_DIFFERENCE = 1e-4
#: Rounding errors that scores may have gathered, in units of a float32's, where they hardly spread.
_ROUNDINGS = 64
_IMAGES = 32


@torch.no_grad()
def require_agreement(detector: Detector, images: Tensor) -> float | None:
    """The largest difference of the scores, over their spread; None for a detector of another source.

    A file in half precision is computed in float32 on both sides.

    Args:
        images: preprocessed, [N, 3, H, W]; the first 32 are used.

    Raises:
        UserError: the network does not compute what the file does.
    """
    if detector.graph is None:
        return None
    interface = graph_interface(detector.spec)
    session = open_session(detector.graph.SerializeToString())
    images = images[:_IMAGES]
    placed = images if interface.layout == "NCHW" else images.permute(0, 2, 3, 1)
    name = session.get_outputs()[interface.verdict].name
    try:
        wanted = [
            session.run([name], {interface.image.name: batch.contiguous().numpy()})[0]
            for batch in placed.split(1 if interface.fixed_batch else len(images))
        ]
    except Exception as error:  # onnxruntime's errors share no other base
        raise UserError(f"onnxruntime cannot run {detector.name}: {one_line(error)}") from None
    expected = np.concatenate(wanted).reshape(len(images), -1)
    raw = detector.model(images)
    found = (raw[detector.output.key] if isinstance(raw, dict) else raw).reshape(len(images), -1).numpy()
    difference = float(np.abs(found - expected).max())
    spread = float(expected.std(axis=0).max())
    rounding = _ROUNDINGS * np.finfo(np.float32).eps * float(np.abs(expected).max())
    if not difference <= _LARGEST_DIFFERENCE * spread + rounding:
        raise UserError(
            f"{detector.name} was rebuilt wrongly from its ONNX file (scores off by "
            f"{difference / spread:.1e} of their spread); please report it with the file"
        )
    return difference / max(spread, 1e-12)
