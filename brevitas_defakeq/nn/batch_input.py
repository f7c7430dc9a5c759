"""How a model takes its batch: in which memory layout, and as a copy where it would change it."""

from copy import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def to_channels_last_(model: nn.Module) -> None:
    """Parameters and buffers of four dimensions in the layout of the processor's fast convolutions."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.dim() == 4:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)


def hand_over_copies_(model: nn.Module, *, contiguous: bool) -> None:
    """From now on ``model`` is handed a copy of each batch, with ``contiguous`` in torch's default layout."""
    layout = torch.contiguous_format if contiguous else torch.preserve_format
    model.register_forward_pre_hook(partial(_copied, layout=layout))


def _copied(_: nn.Module, inputs: tuple, *, layout: torch.memory_format) -> tuple:
    return tuple(
        value.clone(memory_format=layout) if isinstance(value, Tensor) else value for value in inputs
    )


def copied_containers(value: Any) -> Any:
    """Nested lists, tuples and dicts as they are now: a model may change its own. Tensors are shared."""
    if isinstance(value, dict):
        made = copy(value)
        for key, item in value.items():
            made[key] = copied_containers(item)
        return made
    if isinstance(value, list):
        return [copied_containers(item) for item in value]
    if type(value) is tuple:
        return tuple(copied_containers(item) for item in value)
    return value
