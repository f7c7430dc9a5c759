"""Fake logit and feature of a detector in one forward pass."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from brevitas_defakeq.detectors.feature import FeatureTap
from brevitas_defakeq.detectors.output import OutputSpec
from brevitas_defakeq.utils.errors import UserError


@dataclass(frozen=True)
class Observer:
    """Reads a detector and all of its quantized variants in the same way.

    Attributes:
        output: how to read the fake logit.
        path, side: the module, and whether its "input" or "output" is the feature.
    """

    output: OutputSpec
    path: str
    side: str

    def __call__(self, model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        """Fake logit [N] and feature [N, C] of images [N, 3, H, W]; gradients flow.

        Raises UserError where the verdicts are not one an image.
        """
        with FeatureTap(model, self.path, self.side) as tap:
            raw = model(images)
        logits = self.output.fake_logit(raw)
        if len(logits) != len(images):
            raise UserError(
                f"the detector returns {len(logits)} verdicts for {len(images)} images; does a squeeze() "
                "without a dimension, or a reshape, drop the batch?"
            )
        return logits, tap.value

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"output": self.output.to_dict(), "path": self.path, "side": self.side}

    def logit(self, raw: object) -> Tensor:
        """The fake logit [N] from what the model returned."""
        return self.output.fake_logit(raw)
