"""QONNX graphs executed by qonnx and compared with the torch model that they come from."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from onnx import ModelProto
from torch import Tensor, nn

from brevitas_defakeq.detectors.observer import Observer
from brevitas_defakeq.export.agreement import in_double
from brevitas_defakeq.export.quiet_converters import quiet
from brevitas_defakeq.nn.module_tree import copy_module
from brevitas_defakeq.quant.fused import fused_quantizers
from brevitas_defakeq.utils.errors import UserError

#: Largest median difference from torch, relative to the range of its logits.
_TYPICAL = 1e-5
#: And on any image: a value half-way between two codes may round to the other one.
_LARGEST = 0.05


@dataclass(frozen=True)
class QonnxAgreement:
    """A QONNX file against the torch model on some images.

    Attributes:
        images: how many.
        verdicts: share of equal verdicts.
        difference: root mean square of the difference, over the spread of torch's logits.
        typical: median difference, over the range of torch's logits; largest: on any image.
        unrest: the median by which the model's own logits change, over the same, when it computes in float64:
            a value half-way between two codes rounds to the other one, and later layers amplify that.
    """

    images: int
    verdicts: float
    difference: float
    typical: float
    largest: float
    unrest: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def require(self) -> None:
        """Raises UserError where the file is not the model."""
        limit = max(_TYPICAL, 3 * self.unrest)
        if not self.typical <= limit or self.largest > max(_LARGEST, limit):
            raise UserError(
                f"the QONNX file disagrees with the model: off by {self.typical:.1e} of the outputs' range "
                f"on the typical of {self.images} images, {self.largest:.1e} at most; nothing was written "
                "(--no-verify writes it all the same)"
            )


@torch.no_grad()
def compare_qonnx(
    model: ModelProto, network: nn.Module, observer: Observer, images: Tensor, threshold: float
) -> QonnxAgreement:
    """Execute the graph with qonnx on images [N, 3, H, W], one by one, beside the model itself."""
    precise = copy_module(network).double()
    with fused_quantizers(network, frozen=True), fused_quantizers(precise, frozen=True):
        logits = [observer(network, image[None])[0] for image in images]
        exact = [
            in_double(precise, observer, image[None], own) for image, own in zip(images, logits, strict=True)
        ]
    wanted, precisely = (np.array([float(logit) for logit in each]) for each in (logits, exact))
    found = np.array([executed(model, image[None].numpy()) for image in images])
    scale = max(float(np.ptp(wanted)), float(np.abs(wanted).max()), 1e-12)
    differences = np.abs(found - wanted)
    return QonnxAgreement(
        images=len(images),
        verdicts=float(np.mean((found > threshold) == (wanted > threshold))),
        difference=float(np.sqrt(np.mean(differences**2)) / max(wanted.std(), 1e-6)),
        typical=float(np.median(differences) / scale),
        largest=float(differences.max() / scale),
        unrest=float(np.median(np.abs(precisely - wanted)) / scale),
    )


def executed(model: ModelProto, image: np.ndarray) -> float:
    """The only output of a QONNX graph for one input, by qonnx's executor."""
    with quiet():
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.core.onnx_exec import execute_onnx

    wrapped = ModelWrapper(model)
    inputs = {wrapped.graph.input[0].name: image.astype(np.float32)}
    with quiet():
        (output,) = execute_onnx(wrapped, inputs).values()
    return float(output.reshape(()))
