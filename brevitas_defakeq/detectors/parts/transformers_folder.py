"""Folders of ``transformers``: ``config.json`` with ``model_type``, and ``preprocessor_config.json``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from brevitas_defakeq.detectors.parts.side_settings import SideSettings, labels_by_class
from brevitas_defakeq.imaging.preprocessing import size_pair

#: Numbers of PIL's filters as the image processors store them.
_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
_VITS = {192: "vit_tiny", 384: "vit_small", 768: "vit_base", 1024: "vit_large"}
_SWINS = {(96, 6): "swin_tiny", (96, 18): "swin_small", (128, 18): "swin_base", (192, 18): "swin_large"}


def transformers_settings(content: Mapping[str, Any], processor: Mapping[str, Any]) -> SideSettings:
    """The settings in ``config.json`` and, where it exists, ``preprocessor_config.json``."""
    kind = str(content["model_type"])
    build = _ARCHITECTURES.get(kind)
    architecture, args = build(content) if build else (None, {})
    labels = labels_by_class(content.get("id2label"))
    size = {"input_size": content["image_size"]} if isinstance(content.get("image_size"), int) else {}
    missing = () if processor else ("a preprocessor_config.json, which is missing",)
    return SideSettings(
        architecture=architecture,
        kind=kind,
        model_args={**args, "num_classes": len(labels)} if labels else args,
        labels=labels,
        preprocessing=size | _preprocessing(processor),
        unused=(*missing, *_unused(processor)),
    )


def _vit(content: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    width, patch = content.get("hidden_size", 768), content.get("patch_size", 16)
    return f"{_VITS.get(width, 'vit_base')}_patch16_224", {
        "embed_dim": width,
        "depth": content.get("num_hidden_layers", 12),
        "num_heads": content.get("num_attention_heads", 12),
        "mlp_ratio": content.get("intermediate_size", 3072) / width,
        "patch_size": patch,
        "img_size": content.get("image_size", 224),
        "qkv_bias": content.get("qkv_bias", True),
    }


def _swin(content: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    width, depths = content.get("embed_dim", 96), list(content.get("depths", (2, 2, 6, 2)))
    deepest = depths[2] if len(depths) > 2 else 6
    return f"{_SWINS.get((width, deepest), 'swin_tiny')}_patch4_window7_224", {
        "embed_dim": width,
        "depths": depths,
        "num_heads": list(content.get("num_heads", (3, 6, 12, 24))),
        "mlp_ratio": content.get("mlp_ratio", 4.0),
        "window_size": content.get("window_size", 7),
        "patch_size": content.get("patch_size", 4),
        "img_size": content.get("image_size", 224),
    }


#: ``model_type`` -> timm's name and arguments; the weights are renamed by ``parts.huggingface``.
_ARCHITECTURES: dict[str, Callable[[Mapping[str, Any]], tuple[str, dict[str, Any]]]] = {
    "vit": _vit, "swin": _swin,
}  # fmt: skip


def _preprocessing(processor: Mapping[str, Any]) -> dict[str, Any]:
    mean, std = _statistics(processor)
    fields = {
        "input_size": _input_size(processor),
        "mean": mean,
        "std": std,
        "interpolation": _FILTERS.get(processor.get("resample", -1)),
    }
    return {key: value for key, value in fields.items() if value is not None}


def _input_size(processor: Mapping[str, Any]) -> tuple[int, int] | None:
    """What the crop leaves, else what the image is resized to."""
    size = processor.get("crop_size") if _crops(processor) else None
    size = size or processor.get("size")
    if isinstance(size, Mapping):
        size = (size.get("height"), size.get("width")) if "height" in size else size.get("shortest_edge")
    return None if size is None else size_pair(size)


def _crops(processor: Mapping[str, Any]) -> bool:
    return bool(processor.get("crop_size")) and processor.get("do_center_crop", True)


def _statistics(
    processor: Mapping[str, Any],
) -> tuple[tuple[float, ...], tuple[float, ...]] | tuple[None, None]:
    """Mean and standard deviation for values from 0 to 1, whatever the processor scales pixels to."""
    normalizes = processor.get("do_normalize", True)
    if normalizes and not processor.get("image_mean"):
        return None, None
    mean, std = (processor["image_mean"], processor["image_std"]) if normalizes else ((0.0,) * 3, (1.0,) * 3)
    rescales = processor.get("do_rescale", True)
    top = 255 * processor.get("rescale_factor", 1 / 255) if rescales else 255.0
    shift = 1.0 if rescales and processor.get("rescale_offset") else 0.0
    return (
        tuple(round((value + shift) / top, 9) for value in mean),
        tuple(round(value / top, 9) for value in std),
    )


def _unused(processor: Mapping[str, Any]) -> list[str]:
    """Crops, since images are face crops already, and steps that nothing here does."""
    found = []
    if _crops(processor):
        found.append("the centre crop (face crops are used whole)")
    elif (processor.get("crop_pct") or 1) != 1:
        found.append(f"crop_pct {processor['crop_pct']:g} (face crops are used whole)")
    if processor.get("include_top"):
        found.append("include_top")
    return found
