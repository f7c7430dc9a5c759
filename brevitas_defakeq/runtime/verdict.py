"""``predict``: whether the face in an image is fake."""

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass

from brevitas_defakeq.runtime.exported_detector import ExportedDetector
from brevitas_defakeq.runtime.model_input import ImageLike, batches, each_image, model_input
from brevitas_defakeq.utils.errors import UserError


@dataclass(frozen=True)
class Verdict:
    """The detector's verdict on one face crop.

    Attributes:
        fake_probability: sigmoid of `logit`, 0..1.
        logit: the score of "fake".
        is_fake: whether `logit` is above the card's threshold, which need not be at probability 0.5.
    """

    fake_probability: float
    logit: float
    is_fake: bool


def predict(
    model: str | os.PathLike | ExportedDetector,
    images: ImageLike | Iterable[ImageLike],
    *,
    threads: int | None = None,
    batch_size: int = 1,
) -> list[Verdict]:
    """The verdicts on face crops, in their order.

    Args:
        model: a ``model.onnx`` or ``model.onnx.gz`` with its ``model_card.json`` beside it, or an
            `ExportedDetector` to use again.
        images: one or several paths, PIL images or uint8 RGB arrays [H, W, 3], each cropped to a face.
        threads: threads within an operator, from 1; None lets onnxruntime choose. Not for an
            `ExportedDetector`, which has its own.
        batch_size: images at once, from 1; more needs memory and rarely saves time on a small processor.

    Raises:
        UserError: the model, its card or an image cannot be used.
    """
    if type(batch_size) is not int or batch_size < 1:
        raise UserError(f"batch_size={batch_size!r}: give a whole number from 1 on")
    if isinstance(model, ExportedDetector) and threads is not None:
        raise UserError(
            f"threads={threads!r}: give it to ExportedDetector(..., threads=), which was passed as the model"
        )
    detector = model if isinstance(model, ExportedDetector) else ExportedDetector(model, threads=threads)
    inputs = (model_input(image, detector.card.input) for image in each_image(images))
    logits = [logit for batch in batches(inputs, batch_size) for logit in detector.logits(batch).tolist()]
    return [Verdict(_sigmoid(logit), logit, logit > detector.card.threshold) for logit in logits]


def _sigmoid(value: float) -> float:
    """1 / (1 + exp(-x)), without overflow."""
    return 0.5 * (1.0 + math.tanh(0.5 * value))
