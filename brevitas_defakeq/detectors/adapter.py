"""Adapts foreign models to the plain interface: images in, one logit out."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from brevitas_defakeq.detectors.output import OutputSpec
from brevitas_defakeq.utils.errors import UserError


class Adapter(nn.Module):
    """Makes a model that takes or returns a dictionary a detector that can be quantized.

    Its forward takes images [N, 3, H, W] and gives the logit of "fake", [N, 1].

    Args:
        model: the foreign model, unchanged; its weights' names get the prefix ``model.``.
        input: the key under which it takes the images; None passes them directly.
        output: its verdict: a key (``"cls"``), a position or an ``OutputSpec``; None searches for it.
        feature: the key or position of the feature that its head reads, for eq. 9; None uses the last layer's
            input.
        fake_index: the class that means fake, where ``output`` is no ``OutputSpec``.

    >>> class Foreign(nn.Module):
    ...     def forward(self, data):
    ...         return {"cls": data["image"].mean((2, 3))[:, :2]}
    >>> import torch
    >>> Adapter(Foreign(), output="cls")(torch.ones(4, 3, 8, 8)).shape
    torch.Size([4, 1])
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        input: str | None = "image",
        output: str | int | OutputSpec | None = None,
        feature: str | int | None = None,
        fake_index: int = 1,
    ) -> None:
        super().__init__()
        self.model, self.input, self.feature_key = model, input, feature
        self.output = (
            output if isinstance(output, OutputSpec) else OutputSpec(key=output, fake_index=fake_index)
        )
        if feature is not None:
            self.feature = nn.Identity()  # a module whose output is the feature

    @property
    def feature_module(self) -> str | None:
        """The module whose output is the feature, for ``quantize``."""
        return None if self.feature_key is None else "feature"

    def forward(self, images: Tensor) -> Tensor:
        raw = self.model(images if self.input is None else {self.input: images})
        if self.feature_key is not None:
            self.feature(self._feature_in(raw))
        return self.output.fake_logit(raw)[:, None]

    def _feature_in(self, raw: Any) -> Tensor:
        found = raw.get(self.feature_key) if isinstance(raw, Mapping) else raw[self.feature_key]
        if not isinstance(found, Tensor):
            raise UserError(f"the model's output has no tensor {self.feature_key!r} to take as its feature")
        return found
