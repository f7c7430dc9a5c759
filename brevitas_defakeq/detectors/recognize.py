"""Recognizes a checkpoint by its names, for messages about checkpoints that do not fit."""

import re
from collections.abc import Mapping

from torch import Tensor

from brevitas_defakeq.detectors.registry import REGISTRY

#: Description of a checkpoint that is not in the registry, with advice -> patterns of its names.
_OTHERS = {
    "Xception's ImageNet weights, the backbone alone; give the trained detector's file": (
        r"^block12\.rep\.4\.conv1\.weight$", r"^(fc|last_linear)\.weight$",
    ),
    "EfficientNet's ImageNet weights, the backbone alone; give the trained detector's file": (
        r"^_blocks\.31\._project_conv\.weight$", r"^_fc\.weight$",
    ),
    "CLIP's own weights, the backbone alone; give the trained detector's file": (
        r"(visual|vision_model)\.", r"(visual\.proj|visual_projection\.weight|logit_scale)$",
    ),
    "a whole ResNet of torchvision's or timm's (resnet50 and the like)": (
        r"^layer4\.0\.conv1\.weight$", r"^fc\.weight$",
    ),
    "a Hugging Face ViT or Swin classifier; name the timm architecture, as in deit_tiny or swin_small": (
        r"^(vit|deit|swin)\.encoder\.", r"^classifier",
    ),
    "a timm Swin (swin_small, swin_base)": (r"^layers\.3\.blocks\.1\.attn\.relative_position_bias_table$",),
}  # fmt: skip
#: Width of a timm ViT -> the backbones of that width.
_VITS = {192: "deit_tiny", 384: "deit_small, vit_small", 768: "deit_base, vit_base", 1024: "a ViT-Large"}


def looks_like(state: Mapping[str, Tensor], but: str | None = None) -> str | None:
    """A description of the checkpoint with these tensors for a message, or None if it is not recognized.

    ``but`` is the requested detector, which is not suggested.
    """
    fitting = [
        entry.name
        for entry in REGISTRY.values()
        if entry.signature and entry.name != but and _has(state, entry.signature)
    ]
    if fitting:
        return f"the names in it are those of {' or '.join(fitting)}: ask for that detector"
    for what, signature in _OTHERS.items():
        if _has(state, signature):
            return f"it looks like {what}"
    patches = state.get("patch_embed.proj.weight")
    if patches is not None and "cls_token" in state:
        return f"it looks like a timm ViT: {_VITS.get(patches.shape[0], 'of unusual width')}"
    return None


def _has(state: Mapping[str, Tensor], signature: tuple[str, ...]) -> bool:
    """Whether each pattern matches a name."""
    return all(any(re.search(pattern, name) for name in state) for pattern in signature)
