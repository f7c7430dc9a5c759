"""The record of a detector that can be asked for by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from brevitas_defakeq.detectors.output import OutputSpec
from brevitas_defakeq.detectors.parts.timm_model import preprocessing_from_timm
from brevitas_defakeq.imaging.crop import Crop
from brevitas_defakeq.imaging.preprocessing import Preprocessing

if TYPE_CHECKING:
    import torch
    from torch import nn

State = dict[str, "torch.Tensor"]


@dataclass(frozen=True, kw_only=True)
class DetectorEntry:
    """What is known of a detector: how it is built, loaded, fed and read.

    Attributes:
        name: what it is asked for by.
        build: the architecture with random weights; takes model arguments, if it takes any.
        description: one line for ``defakeq detectors``.
        licence: of the original.
        paper: who published it, where.
        source: where its weights come from.
        preprocessing: None: timm's configuration of the built model.
        crop: how its faces were cut out; None: not known.
        output: which output means fake, and on which scale.
        feature: the module whose output eq. 9 aligns; None: what the last layer reads.
        blocks: modules that are reconstructed as one although they hold many layers.
        outside: module -> why it stays outside the quantized graph.
        timm_name: the architecture behind a backbone.
        weights: the file of the shipped weights.
        signature: names in a published checkpoint (patterns) that together no other detector's has.
        unused: names in a published checkpoint (patterns) that inference does not need.
        convert: from the names and tensors of a published checkpoint to those of ``build()``.
    """

    name: str
    build: Callable[..., nn.Module]
    description: str
    licence: str
    paper: str
    source: str = "bring your own"
    preprocessing: Preprocessing | None = None
    crop: Crop | None = None
    output: OutputSpec = field(default_factory=OutputSpec)
    feature: str | None = None
    blocks: tuple[str, ...] = ()
    outside: Mapping[str, str] = field(default_factory=dict)
    timm_name: str | None = None
    weights: Path | None = None
    signature: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    convert: Callable[[State], State] | None = None

    def preprocessing_of(self, model: nn.Module) -> Preprocessing:
        """The pre-processing of a model that this entry has built."""
        return self.preprocessing or preprocessing_from_timm(model)


#: What DeepfakeBench's detectors share: aligned faces, OpenCV's cubic resize, values from -1 to 1.
BENCHMARK = {
    "preprocessing": Preprocessing((256, 256), "cv2_cubic"),
    "crop": Crop("aligned", 0.15),
    "output": OutputSpec("softmax"),
    "licence": "CC BY-NC 4.0 (DeepfakeBench)",
}
#: OpenAI's CLIP, per RGB channel.
CLIP_STATISTICS = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
IMAGENET_STATISTICS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
