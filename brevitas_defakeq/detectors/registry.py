"""The detectors known by name: the shipped one and the seven backbones of the paper."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brevitas_defakeq.data.preprocessing import Preprocessing, preprocessing_from_timm
from brevitas_defakeq.detectors.demo import DEMO_PREPROCESSING, DEMO_WEIGHTS, build_demo
from brevitas_defakeq.detectors.output import OutputSpec
from brevitas_defakeq.errors import UserError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class DetectorEntry:
    """A detector that can be asked for by name.

    `build` takes model arguments and gives the architecture with random weights; `preprocessing` None means
    timm's configuration of the built model; `feature` None means the input of the last Linear or Conv2d;
    `timm_name` is the architecture behind a backbone; `weights` is the file of the shipped weights, if any.
    """

    name: str
    build: Callable[..., nn.Module]
    description: str
    licence: str
    paper: str
    preprocessing: Preprocessing | None = None
    output: OutputSpec = field(default_factory=OutputSpec)
    feature: str | None = None
    timm_name: str | None = None
    weights: Path | None = None

    def preprocessing_of(self, model: nn.Module) -> Preprocessing:
        """The pre-processing of a model that this entry has built."""
        return self.preprocessing or preprocessing_from_timm(model)


#: Registry name -> timm name, what it is, the paper that introduced it.
_BACKBONES = {
    "deit_tiny": ("deit_tiny_patch16_224", "DeiT-Tiny, 224 px", "Touvron et al., ICML 2021"),
    "deit_small": ("deit_small_patch16_224", "DeiT-Small, 224 px", "Touvron et al., ICML 2021"),
    "deit_base": ("deit_base_patch16_224", "DeiT-Base, 224 px", "Touvron et al., ICML 2021"),
    "vit_small": ("vit_small_patch16_224", "ViT-Small/16, 224 px", "Dosovitskiy et al., ICLR 2021"),
    "vit_base": ("vit_base_patch16_224", "ViT-Base/16, 224 px", "Dosovitskiy et al., ICLR 2021"),
    "swin_small": ("swin_small_patch4_window7_224", "Swin-Small, 224 px", "Liu et al., ICCV 2021"),
    "swin_base": ("swin_base_patch4_window7_224", "Swin-Base, 224 px", "Liu et al., ICCV 2021"),
}


def names() -> list[str]:
    """The names that `resolve` finds first, in the order of the registry."""
    return list(REGISTRY)


def describe() -> Iterator[dict[str, Any]]:
    """One row a detector: name, parameters (count), input_size (height, width), description, licence, paper.

    Each row's model is built when the row is asked for, without memory for its weights.
    """
    import torch

    for entry in REGISTRY.values():
        with torch.device("meta"):
            model = entry.build()
        yield {
            "name": entry.name,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "input_size": entry.preprocessing_of(model).input_size,
            "description": entry.description,
            "licence": entry.licence,
            "paper": entry.paper,
        }


def build_timm(timm_name: str, *, num_classes: int = 2, **model_args: Any) -> nn.Module:
    """A timm architecture with random weights; nothing is downloaded.

    Raises UserError where timm does not take the model arguments.
    """
    import timm

    try:
        return timm.create_model(timm_name, pretrained=False, num_classes=num_classes, **model_args)
    except (TypeError, ValueError, RuntimeError, AssertionError, AttributeError, KeyError) as error:
        given = ", ".join(
            f"{key}={value!r}" for key, value in {"num_classes": num_classes, **model_args}.items()
        )
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"timm cannot build {timm_name} with {given}: {reason}; change the model arguments"
        ) from error


def _build_demo(**model_args: Any) -> nn.Module:
    if model_args:
        raise UserError(f"the detector demo takes no model arguments; leave out {', '.join(model_args)}")
    return build_demo()


def _backbone(name: str, timm_name: str, description: str, paper: str) -> DetectorEntry:
    return DetectorEntry(
        name=name,
        build=partial(build_timm, timm_name),
        description=f"{description}; backbone of the paper, bring your own weights",
        licence="Apache-2.0 (architecture)",
        paper=paper,
        timm_name=timm_name,
    )


_DEMO = DetectorEntry(
    name="demo",
    build=_build_demo,
    description="the shipped small detector; it knows drawn faces, not photographs",
    licence="as this package",
    paper="none",
    preprocessing=DEMO_PREPROCESSING,
    weights=DEMO_WEIGHTS,
)

REGISTRY: dict[str, DetectorEntry] = {
    entry.name: entry for entry in (_DEMO, *(_backbone(name, *rest) for name, rest in _BACKBONES.items()))
}
