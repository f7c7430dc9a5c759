"""QONNX graphs executed by qonnx, and held against the torch model they come from."""

from dataclasses import asdict, dataclass

import numpy as np
import torch
from onnx import ModelProto
from torch import Tensor, nn

from brevitas_defakeq.evaluate.observe import Observer
from brevitas_defakeq.export.quiet_converters import quiet
from brevitas_defakeq.float_reference import copy_module
from brevitas_defakeq.quant.fused import fused_quantizers
from brevitas_defakeq.utils.errors import UserError

#: Largest difference to torch, relative to the outputs' range, on the typical image.
TOLERANCE = 1e-5
#: And on any: a value that lies between two codes may fall to the other side.
_LARGEST = 0.05


def require_qonnx() -> None:
    """Raises UserError where the extra ``fpga`` is not installed."""
    try:
        with quiet():
            import qonnx.core.modelwrapper  # noqa: F401
    except ImportError:
        raise UserError("QONNX needs qonnx: pip install 'brevitas_defakeq[fpga]'") from None


@dataclass(frozen=True)
class Exactness:
    """A QONNX file against the torch model on some images.

    Attributes:
        images: how many.
        verdicts: share of equal verdicts.
        difference: root mean square of the difference, over the spread of torch's logits.
        typical: median difference, over the range of torch's logits; largest: on any image.
        unrest: the median by which the model's own logits move, over the same, when it computes in float64:
            a value between two codes falls to the other side, and what follows amplifies that.
    """

    images: int
    verdicts: float
    difference: float
    typical: float
    largest: float
    unrest: float

    def to_dict(self) -> dict:
        return asdict(self)

    def require(self) -> None:
        """Raises UserError where the file is not the model."""
        limit = max(TOLERANCE, 3 * self.unrest)
        if not self.typical <= limit or self.largest > max(_LARGEST, limit):
            raise UserError(
                f"the QONNX file disagrees with the model: off by {self.typical:.1e} of the outputs' range "
                f"on the typical of {self.images} images, {self.largest:.1e} at most; nothing was written "
                "(--no-verify writes it all the same)"
            )


@torch.no_grad()
def compared(
    model: ModelProto, network: nn.Module, observer: Observer, images: Tensor, threshold: float
) -> Exactness:
    """Execute the graph with qonnx on images [N, 3, H, W], one by one, beside the model itself."""
    precise = copy_module(network).double()
    with fused_quantizers(network, frozen=True), fused_quantizers(precise, frozen=True):
        wanted = np.array([float(observer(network, image[None])[0]) for image in images])
        moved = np.array([float(observer(precise, image[None].double())[0]) for image in images])
    found = np.array([executed(model, image[None].numpy()) for image in images])
    scale = max(float(np.ptp(wanted)), float(np.abs(wanted).max()), 1e-12)
    differences = np.abs(found - wanted)
    return Exactness(
        images=len(images),
        verdicts=float(np.mean((found > threshold) == (wanted > threshold))),
        difference=float(np.sqrt(np.mean(differences**2)) / max(wanted.std(), 1e-6)),
        typical=float(np.median(differences) / scale),
        largest=float(differences.max() / scale),
        unrest=float(np.median(np.abs(moved - wanted)) / scale),
    )


def executed(model: ModelProto, image: np.ndarray) -> float:
    """The only output of a QONNX graph for one input, by qonnx's executor."""
    with quiet():
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.core.onnx_exec import execute_onnx

    wrapped = ModelWrapper(model)
    feed = {wrapped.graph.input[0].name: image.astype(np.float32)}
    with quiet():
        (answer,) = execute_onnx(wrapped, feed).values()
    return float(answer.reshape(()))
