"""timm's architectures, with random weights, and their pre-processing; nothing is downloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brevitas_defakeq.imaging.preprocessing import PIL_FILTERS, Preprocessing
from brevitas_defakeq.utils.errors import UserError, one_line

if TYPE_CHECKING:
    from torch import nn


def build_timm(timm_name: str, *, num_classes: int = 2, **model_args: Any) -> nn.Module:
    """A timm architecture with random weights.

    Raises UserError where timm does not take the model arguments.
    """
    import timm

    try:
        return timm.create_model(timm_name, pretrained=False, num_classes=num_classes, **model_args)
    except (TypeError, ValueError, RuntimeError, AssertionError, AttributeError, KeyError) as error:
        given = ", ".join(
            f"{key}={value!r}" for key, value in {"num_classes": num_classes, **model_args}.items()
        )
        raise UserError(
            f"timm cannot build {timm_name} with {given}: {one_line(error)}; change the model arguments"
        ) from error


def preprocessing_from_timm(model: nn.Module) -> Preprocessing:
    """Input size, interpolation, mean and std of a timm model, from its `pretrained_cfg`.

    A model built for another `img_size` keeps that size. `crop_pct` is ignored: timm enlarges photographs and
    crops their centre, while face images are already cropped. Raises UserError if the model is not timm's.
    """
    configuration = getattr(model, "pretrained_cfg", None)
    if not configuration:
        raise UserError(
            f"{type(model).__name__} has no timm configuration; give input size, mean and std yourself"
        )
    built_for = getattr(getattr(model, "patch_embed", None), "img_size", None)
    interpolation = configuration.get("interpolation")
    return Preprocessing(
        input_size=built_for or configuration["input_size"][1:],
        interpolation=interpolation if interpolation in PIL_FILTERS else "bicubic",  # timm's own fallback
        mean=configuration["mean"],
        std=configuration["std"],
    )
