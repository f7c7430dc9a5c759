"""A detector that was found, and how the user's options are read into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brevitas_defakeq.detectors.output import OutputSpec
from brevitas_defakeq.imaging.crop import Crop
from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.imaging.stored_files import file_sha256
from brevitas_defakeq.utils.errors import UserError

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import nn


@dataclass(frozen=True)
class Detector:
    """A detector in evaluation mode, and what is needed to use and rebuild it.

    Attributes:
        model: images [N, 3, H, W] to raw outputs.
        name: the registry's, timm's or the factory's name.
        preprocessing: of its images.
        output: how to read its outputs.
        feature: the module whose output is the feature; None uses the input of the layer called last.
        spec: JSON from which `build` makes the architecture again.
        weights: the files' names and SHA-256; None where no file was given.
        crop: how its training faces were cropped; None if unknown.
        blocks: modules that are reconstructed as one block.
        outside: module -> why it stays outside the quantized graph.
        dropped: names in the files that were not needed, or were asked to be left out -> count.
        untrained: whether its weights are random, since it is known by its architecture alone.
        graph: the float32 ONNX graph, up to the scores, that the model was made from.
    """

    model: nn.Module
    name: str
    preprocessing: Preprocessing | None
    output: OutputSpec = field(default_factory=OutputSpec)
    feature: str | None = None
    spec: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, str] | None = None
    crop: Crop | None = None
    blocks: tuple[str, ...] = ()
    outside: Mapping[str, str] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    untrained: bool = False
    graph: ModelProto | None = None


def output_as_given(
    default: OutputSpec, output: OutputSpec | str | None, classes: Mapping[str, int]
) -> OutputSpec:
    """The default with the user's kind and with the fake or real class, or the user's own spec.

    Args:
        classes: ``fake_index`` or ``real_index``; empty where neither is known.
    """
    if len(classes) > 1:
        raise UserError("give --fake-index or --real-index: each of them says which class is which")
    chosen = output if isinstance(output, OutputSpec) else replace(default, kind=output or default.kind)
    fields: dict[str, Any] = {"real_index": None, **classes}
    return replace(chosen, **fields) if classes else chosen


def identity_of(files: Sequence[Path]) -> dict[str, str] | None:
    """Names and SHA-256 of the files of weights."""
    if not files:
        return None
    return {
        "file": ", ".join(path.name for path in files), "sha256": ", ".join(map(file_sha256, files)),
    }  # fmt: skip
