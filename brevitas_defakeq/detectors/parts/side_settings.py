"""What a file beside the weights says about them, whatever tool wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class SideSettings:
    """Settings that were stored beside a checkpoint.

    Attributes:
        architecture: timm's name; None for one that timm does not have.
        model_args: arguments that build it.
        labels: class -> its label; empty where there are none.
        preprocessing: fields of `Preprocessing`.
        unused: what else was said about the images, in words: nothing here does it.
        kind: the model's kind as the file names it.
    """

    architecture: str | None
    kind: str
    model_args: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[int, str] = field(default_factory=dict)
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    unused: tuple[str, ...] = ()


def labels_by_class(labels: Any) -> dict[int, str]:
    """Labels as a list in the order of the classes, or by the class's number (as text in JSON)."""
    pairs = labels.items() if isinstance(labels, Mapping) else enumerate(labels or ())
    return {int(index): str(label) for index, label in pairs}
