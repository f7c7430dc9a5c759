"""ViT and Swin classifiers of ``transformers`` under timm's names."""

import re

from brevitas_defakeq.detectors.entry import State
from brevitas_defakeq.detectors.parts.keys import joined, renamed

_VIT = {
    r"^classifier\.": "head.",
    r"^vit\.": "",
    r"^embeddings\.cls_token$": "cls_token",
    r"^embeddings\.position_embeddings$": "pos_embed",
    r"^embeddings\.patch_embeddings\.projection\.": "patch_embed.proj.",
    r"^encoder\.layer\.": "blocks.",
    r"\.layernorm_before\.": ".norm1.",
    r"\.layernorm_after\.": ".norm2.",
    r"\.attention\.attention\.(q|k|v)(uery|ey|alue)\.": r".attn.\1.",
    r"\.attention\.output\.dense\.": ".attn.proj.",
    r"\.intermediate\.dense\.": ".mlp.fc1.",
    r"\.output\.dense\.": ".mlp.fc2.",
    r"^layernorm\.": "norm.",
}
_SWIN = {
    r"^classifier\.": "head.fc.",
    r"^swin\.": "",
    r"^embeddings\.patch_embeddings\.projection\.": "patch_embed.proj.",
    r"^embeddings\.norm\.": "patch_embed.norm.",
    r"^encoder\.layers\.": "layers.",
    r"\.layernorm_before\.": ".norm1.",
    r"\.layernorm_after\.": ".norm2.",
    r"\.attention\.self\.(q|k|v)(uery|ey|alue)\.": r".attn.\1.",
    r"\.attention\.self\.relative": ".attn.relative",
    r"\.attention\.output\.dense\.": ".attn.proj.",
    r"\.intermediate\.dense\.": ".mlp.fc1.",
    r"\.output\.dense\.": ".mlp.fc2.",
    r"^layernorm\.": "norm.",
}


def huggingface_to_timm(state: State) -> State:
    """The tensors under timm's names; any other state unchanged."""
    if any(name.startswith("vit.encoder.") for name in state):
        return joined(renamed(state, _VIT))
    if any(name.startswith("swin.encoder.") for name in state):
        return joined(_downsampled_later(renamed(state, _SWIN)))
    return state


def _downsampled_later(state: State) -> State:
    """timm assigns a stage's down-sampling to the next stage."""

    def later(found: re.Match) -> str:
        return f"layers.{int(found[1]) + 1}.downsample"

    return {re.sub(r"^layers\.(\d+)\.downsample", later, name): state[name] for name in state}
