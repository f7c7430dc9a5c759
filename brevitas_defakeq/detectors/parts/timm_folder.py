"""Folders of timm's hub: ``config.json`` with ``architecture``, ``label_names`` and ``pretrained_cfg``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brevitas_defakeq.detectors.parts.side_settings import SideSettings, labels_by_class
from brevitas_defakeq.imaging.preprocessing import PIL_FILTERS


def timm_settings(content: Mapping[str, Any]) -> SideSettings:
    """The settings in a ``config.json`` that timm's ``push_to_hf_hub`` or ``save_for_hf`` wrote."""
    data = content.get("pretrained_cfg") or content  # older files have all of it at the top
    classes = content.get("num_classes", data.get("num_classes"))
    args = dict(content.get("model_args") or {})
    return SideSettings(
        architecture=str(content["architecture"]),
        kind=str(content["architecture"]),
        model_args=args if classes is None else {**args, "num_classes": classes},
        labels=labels_by_class(
            content.get("label_names") or data.get("label_names") or content.get("labels")
        ),
        preprocessing=_preprocessing(data),
        unused=tuple(_unused(data)),
    )


def _preprocessing(data: Mapping[str, Any]) -> dict[str, Any]:
    fields = {
        "input_size": tuple(data.get("input_size") or ())[1:] or None,
        "mean": tuple(data.get("mean") or ()) or None,
        "std": tuple(data.get("std") or ()) or None,
        "interpolation": data.get("interpolation") if data.get("interpolation") in PIL_FILTERS else None,
    }
    return {key: value for key, value in fields.items() if value is not None}


def _unused(data: Mapping[str, Any]) -> list[str]:
    """The crop, since images are face crops already, and filters that are none of ours."""
    found = []
    if (data.get("crop_pct") or 1) != 1:
        found.append(f"crop_pct {data['crop_pct']:g} (face crops are used whole)")
    if data.get("interpolation") not in (None, *PIL_FILTERS):
        found.append(f"interpolation {data['interpolation']}")
    return found
