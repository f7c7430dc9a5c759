"""Foreign code behind the plain interface: images in, one logit out."""

from collections.abc import Mapping

from torch import Tensor, nn

from brevitas_defakeq.detectors.output import OutputSpec
from brevitas_defakeq.utils.errors import UserError


class Adapter(nn.Module):
    """A model that takes a dictionary, or returns one, as a detector that can be quantized as it is.

    Its forward takes images [N, 3, H, W] and gives the logit of "fake", [N, 1].

    Args:
        model: the foreign model; used as it is, its weights keep their names behind ``model.``.
        input: the key under which it takes the images; None: it takes them directly.
        output: how to read its verdict: a key (``"cls"``), a position, an ``OutputSpec``; None looks for it.
        feature: the key or position of the feature that its head reads, for eq. 9; None: what its last layer
            reads.
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
        known = isinstance(output, OutputSpec)
        self.output = output if known else OutputSpec(key=output, fake_index=fake_index)
        if feature is not None:
            self.feature = nn.Identity()  # a place in the model that the feature passes

    @property
    def feature_module(self) -> str | None:
        """The module whose output is the feature, for ``quantize``."""
        return None if self.feature_key is None else "feature"

    def forward(self, images: Tensor) -> Tensor:
        raw = self.model(images if self.input is None else {self.input: images})
        if self.feature_key is not None:
            self.feature(self._part(raw))
        return self.output.fake_logit(raw)[:, None]

    def _part(self, raw: object) -> Tensor:
        found = raw.get(self.feature_key) if isinstance(raw, Mapping) else raw[self.feature_key]
        if not isinstance(found, Tensor):
            raise UserError(f"the model's output has no tensor {self.feature_key!r} to take as its feature")
        return found
