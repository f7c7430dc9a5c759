"""Detectors to quantize: by name, from timm, or from the user's own code.

Torch and timm are imported only when a detector is built.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from brevitas_defakeq.detectors.registry import names
from brevitas_defakeq.detectors.resolve import Detector, resolve

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Detector", "load", "names", "resolve"]


def load(name: str, weights: str | os.PathLike | None = None, **options: Any) -> nn.Module:
    """Only the detector's model: a plain nn.Module with raw outputs, in evaluation mode.

    `options` are those of `resolve`.
    """
    return resolve(name, weights=weights, **options).model
