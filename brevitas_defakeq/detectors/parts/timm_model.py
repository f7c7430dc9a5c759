"""Architectures from timm, with random weights; nothing is downloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brevitas_defakeq.utils.errors import UserError

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
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"timm cannot build {timm_name} with {given}: {reason}; change the model arguments"
        ) from error
