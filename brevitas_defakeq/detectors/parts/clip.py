"""The vision tower of OpenAI's CLIP ViT-L/14: timm's, under the names of published checkpoints."""

from typing import Any

from timm.models.vision_transformer import VisionTransformer

from brevitas_defakeq.detectors.entry import State
from brevitas_defakeq.detectors.parts.keys import joined, renamed
from brevitas_defakeq.detectors.parts.timm_model import build_timm

#: ``transformers``' names (after their prefix) -> timm's.
_TRANSFORMERS = {
    r"^embeddings\.class_embedding$": "cls_token",
    r"^embeddings\.patch_embedding\.": "patch_embed.proj.",
    r"^embeddings\.position_embedding\.weight$": "pos_embed",
    r"^pre_layrnorm\.": "norm_pre.",
    r"^post_layernorm\.": "norm.",
    r"^encoder\.layers\.": "blocks.",
    r"\.layer_norm([12])\.": r".norm\1.",
    r"\.self_attn\.([qkv])_proj\.": r".attn.\1.",
    r"\.self_attn\.out_proj\.": ".attn.proj.",
}
#: OpenAI's own names.
_OPENAI = {
    r"^class_embedding$": "cls_token",
    r"^conv1\.": "patch_embed.proj.",
    r"^positional_embedding$": "pos_embed",
    r"^ln_pre\.": "norm_pre.",
    r"^ln_post\.": "norm.",
    r"^transformer\.resblocks\.": "blocks.",
    r"\.ln_([12])\.": r".norm\1.",
    r"\.attn\.in_proj_": ".attn.qkv.",
    r"\.attn\.out_proj\.": ".attn.proj.",
    r"\.mlp\.c_fc\.": ".mlp.fc1.",
    r"\.mlp\.c_proj\.": ".mlp.fc2.",
}


def clip_vit_large(num_classes: int, **model_args: Any) -> VisionTransformer:
    """The tower with ``quick_gelu`` and a Linear head on the class token's 1,024 values, 224 x 224."""
    model = build_timm("vit_large_patch14_clip_quickgelu_224", num_classes=num_classes, **model_args)
    assert isinstance(model, VisionTransformer)
    return model


def clip_to_timm(state: State) -> State:
    """The tower (without its prefix) under timm's names, query, key and value joined; the rest unchanged."""
    result = joined(renamed(state, _TRANSFORMERS | _OPENAI))
    if "cls_token" in result:
        result["cls_token"] = result["cls_token"].reshape(1, 1, -1)
    if "pos_embed" in result:
        result["pos_embed"] = result["pos_embed"].reshape(1, *result["pos_embed"].shape[-2:])
    return result
