"""The detectors known by name: the shipped one, the paper's seven backbones, and published ones."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Mapping
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from brevitas_defakeq.detectors import published
from brevitas_defakeq.detectors.demo_detector import DEMO_PREPROCESSING, DEMO_WEIGHTS, build_demo
from brevitas_defakeq.detectors.entry import DetectorEntry
from brevitas_defakeq.detectors.parts.timm_model import build_timm
from brevitas_defakeq.utils.errors import UserError

if TYPE_CHECKING:
    from torch import nn

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


class _Registry(Mapping[str, DetectorEntry]):
    """Name -> entry. A published detector's module is imported when its entry is used."""

    def __init__(self, entries: Mapping[str, DetectorEntry]) -> None:
        self._entries = dict(entries)
        self._published = sorted(module.name for module in pkgutil.iter_modules(published.__path__))

    def __getitem__(self, name: str) -> DetectorEntry:
        if name in self._published:
            return import_module(f"{published.__name__}.{name}").ENTRY
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._entries
        yield from self._published

    def __len__(self) -> int:
        return len(self._entries) + len(self._published)

    def add(self, entry: DetectorEntry) -> None:
        """Take an entry in. Raises UserError where the name is taken."""
        if entry.name in self:
            raise UserError(f"a detector {entry.name!r} is known already; choose another name")
        self._entries[entry.name] = entry


def names() -> list[str]:
    """The registry's names, in order; `resolve` looks here first."""
    return list(REGISTRY)


def describe() -> Iterator[dict[str, Any]]:
    """A row for each detector, as ``defakeq detectors`` shows it.

    Each row's model is built lazily, without memory for its weights.
    """
    import torch

    for entry in REGISTRY.values():
        with torch.device("meta"):
            model = entry.build()
        yield _row(entry, model)


def _row(entry: DetectorEntry, model: nn.Module) -> dict[str, Any]:
    preprocessing = entry.preprocessing_of(model)
    return {
        "name": entry.name,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "input_size": preprocessing.input_size,
        "preprocessing": preprocessing.to_dict(),
        "crop": entry.crop.to_dict() if entry.crop else None,
        "output": entry.output.to_dict(),
        "description": entry.description,
        "weights": entry.source,
        "licence": entry.licence,
        "paper": entry.paper,
    }


def _backbone(name: str, timm_name: str, description: str, paper: str) -> DetectorEntry:
    return DetectorEntry(
        name=name,
        build=partial(build_timm, timm_name),
        description=f"{description}; backbone of the paper",
        licence="Apache-2.0 (architecture)",
        paper=paper,
        timm_name=timm_name,
    )


_DEMO = DetectorEntry(
    name="demo",
    build=build_demo,
    description="the shipped small detector; it knows drawn faces, not photographs",
    licence="as this package",
    paper="none",
    source="in the package",
    preprocessing=DEMO_PREPROCESSING,
    weights=DEMO_WEIGHTS,
)

REGISTRY = _Registry(
    {entry.name: entry for entry in (_DEMO, *(_backbone(name, *rest) for name, rest in _BACKBONES.items()))}
)


def register_detector(entry: DetectorEntry) -> DetectorEntry:
    """Make a detector known by its name in this process. Raises UserError where the name is taken."""
    REGISTRY.add(entry)
    return entry
