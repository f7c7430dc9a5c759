"""Wavelet-CLIP: CLIP ViT-L/14, its head between wavelet transforms folded into the Linear that it equals."""

from typing import Any

from torch import nn

from brevitas_defakeq.detectors.entry import State, benchmark_entry
from brevitas_defakeq.detectors.parts.clip import clip_to_timm, clip_vit_large
from brevitas_defakeq.detectors.parts.keys import renamed
from brevitas_defakeq.detectors.parts.wavelet import folded
from brevitas_defakeq.imaging.preprocessing import Preprocessing


def build(**model_args: Any) -> nn.Module:
    """Images [N, 3, 224, 224] to logits [N, 2]; ``depth=2`` and the like are timm's."""
    return clip_vit_large(2, **model_args)


def convert(state: State) -> State:
    """The tower under timm's names and the head folded; DeepfakeBench's plain ``clip`` has none to fold."""
    return clip_to_timm(renamed(folded(state), {r"^backbone\.": ""}))


ENTRY = benchmark_entry(
    name="wavelet_clip",
    build=build,
    convert=convert,
    description="Wavelet-CLIP and DeepfakeBench's plain CLIP: ViT-L/14, the head folded into one Linear",
    paper="Baru et al., WACV Workshops 2025",
    source="the authors' clip_wavehead_ckpt_best.pth",
    signature=(r"^backbone\.encoder\.layers\.0\.self_attn\.q_proj\.weight$", r"^head\.weight$"),
    unused=(r"^backbone\.embeddings\.position_ids$",),
    preprocessing=Preprocessing((224, 224), "cv2_cubic"),
    licence="MIT, on DeepfakeBench's code",
)
