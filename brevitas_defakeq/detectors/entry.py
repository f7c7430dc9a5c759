"""The description of a detector that is known by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
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
    """How a detector is built and loaded, and how its input and output are defined.

    Attributes:
        name: by which users select it.
        build: the architecture with random weights; may take model arguments.
        description: one line for ``defakeq detectors``.
        licence: of the original.
        paper: authors and venue.
        source: where its weights come from.
        preprocessing: None uses timm's configuration of the built model.
        crop: how its training faces were cropped; None if unknown.
        output: which output means fake, and on which scale.
        feature: the module whose output eq. 9 aligns; None uses the last layer's input.
        blocks: modules that are reconstructed as one block although they contain many layers.
        outside: module -> why it stays outside the quantized graph.
        timm_name: the architecture behind a backbone.
        weights: the file of the shipped weights.
        signature: patterns of names that only this detector's published checkpoint has all of.
        unused: patterns of names in its published checkpoint that inference does not need.
        convert: converts names and tensors of its published checkpoint to those of ``build()``.
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
        """The pre-processing of a model built by this entry."""
        return self.preprocessing or preprocessing_from_timm(model)


#: An entry of DeepfakeBench: aligned faces, OpenCV's cubic resize, values from -1 to 1.
benchmark_entry = partial(
    DetectorEntry,
    preprocessing=Preprocessing((256, 256), "cv2_cubic"),
    crop=Crop("aligned", 0.15),
    output=OutputSpec("softmax"),
    licence="CC BY-NC 4.0 (DeepfakeBench)",
)
#: OpenAI's CLIP, per RGB channel.
CLIP_STATISTICS = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
IMAGENET_STATISTICS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
