"""Effort: CLIP ViT-L/14 whose attention layers carry a low-rank residual, merged into their weights here."""

from typing import Any

import torch
from torch import nn

from brevitas_defakeq.detectors.entry import CLIP_STATISTICS, State, benchmark_entry
from brevitas_defakeq.detectors.parts.clip import clip_to_timm, clip_vit_large
from brevitas_defakeq.detectors.parts.keys import renamed
from brevitas_defakeq.imaging.preprocessing import Preprocessing


def build(**model_args: Any) -> nn.Module:
    """Images [N, 3, 224, 224] to logits [N, 2]; ``depth=2`` and the like are timm's."""
    return clip_vit_large(2, **model_args)


def convert(state: State) -> State:
    """Residuals merged, then the tower under timm's names."""
    return clip_to_timm(renamed(_merged(state), {r"^backbone\.": ""}))


def _merged(state: State) -> State:
    """``weight_main + U diag(S) V`` as one weight, wherever all four are there."""
    result = dict(state)
    for name in state:
        layer = name.removesuffix("weight_main")
        parts = [f"{layer}{part}_residual" for part in "USV"]
        if layer == name or not all(part in result for part in parts):
            continue
        left, sizes, right = (result.pop(part).double() for part in parts)  # [out, r], [r], [r, in]
        result[f"{layer}weight"] = (result.pop(name).double() + left @ torch.diag(sizes) @ right).float()
    return result


ENTRY = benchmark_entry(
    name="effort",
    build=build,
    convert=convert,
    description="Effort: CLIP ViT-L/14, its residuals merged",
    paper="Yan et al., ICML 2025",
    source="the authors' effort_clip_L14_trainOn_FaceForensic.pth",
    signature=(r"\.self_attn\.q_proj\.weight_main$", r"\.self_attn\.q_proj\.S_residual$"),
    unused=(
        r"^backbone\.embeddings\.position_ids$", r"\.[SUV]_r$", r"\.weight_(original|main)_fnorm$",
    ),
    preprocessing=Preprocessing((224, 224), "cv2_cubic", *CLIP_STATISTICS),
)  # fmt: skip
