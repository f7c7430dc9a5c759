"""What a block reads and returns on the calibration images, kept in memory or on disk."""

import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from brevitas_defakeq.config import DEFAULT_CACHE_BYTES
from brevitas_defakeq.nn.module_tree import removed_after
from brevitas_defakeq.utils.errors import UserError


class TensorStore:
    """Hands out tensors for captured activations; beyond ``limit_bytes`` they lie in a temporary file."""

    def __init__(self, limit_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0

    def empty(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        size = int(np.prod(shape)) * torch.empty((), dtype=dtype).element_size()
        if self.used_bytes + size <= self.limit_bytes:
            self.used_bytes += size
            return torch.empty(*shape, dtype=dtype)
        file = tempfile.TemporaryFile(prefix="defakeq-cache-")  # noqa: SIM115 (lives as long as its mapping)
        _reserve(file.fileno(), size)
        mapped = np.memmap(
            file, dtype=torch.empty((), dtype=dtype).numpy().dtype, mode="r+", shape=tuple(shape)
        )
        return torch.from_numpy(mapped)

    def release(self) -> None:
        """All tensors handed out so far are no longer needed."""
        self.used_bytes = 0


def _reserve(descriptor: int, size: int) -> None:
    """Room on the disk now: a sparse file would kill the process where the disk fills up later."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except AttributeError:  # not on this platform
        os.truncate(descriptor, size)
    except OSError as error:
        raise UserError(
            f"{tempfile.gettempdir()} has no room for {size / 2**20:.0f} MiB of captured activations "
            f"({error.strerror}); point TMPDIR elsewhere or raise --cache-memory"
        ) from error


@dataclass(kw_only=True)
class Captured:
    """A block's calls on M images, [M, group, ...]: ``group`` is calls times rows an image has."""

    inputs: Tensor | None = None
    outputs: Tensor | None = None
    rest: tuple = ()
    options: dict = field(default_factory=dict)
    memory_format: torch.memory_format = torch.contiguous_format
    device: torch.device = torch.device("cpu")

    def rows(self, tensor: Tensor, images: Tensor) -> Tensor:
        """The rows of some images, flattened to the batch the block itself takes, laid out as it saw them."""
        rows = tensor[images].flatten(0, 1).to(self.device)
        return rows.contiguous(memory_format=self.memory_format) if rows.dim() == 4 else rows


class _Enough(Exception):
    """The block has run; the rest of the forward pass is not needed."""


@torch.no_grad()
def capture(
    model: nn.Module,
    block: nn.Module,
    batches: Sequence[Tensor],
    *,
    calls: int,
    outputs: bool,
    store: TensorStore,
) -> Captured:
    """Run ``model`` on the batches up to ``block`` and keep what it reads (and returns).

    Args:
        calls: how often the block runs in one forward pass.
        outputs: keep its outputs too; otherwise the pass stops in front of its last call.
    """
    result, images, start = Captured(), sum(len(batch) for batch in batches), 0
    seen_inputs: list[Tensor] = []
    seen_outputs: list[Tensor] = []

    def before(_, inputs: tuple, options: dict) -> None:
        seen_inputs.append(inputs[0].detach())
        result.rest, result.options = inputs[1:], options
        result.memory_format, result.device = _layout(inputs[0]), inputs[0].device
        if not outputs and len(seen_inputs) == calls:
            raise _Enough

    def after(_, __, output: Tensor) -> None:
        seen_outputs.append(output.detach())
        if len(seen_outputs) == calls:
            raise _Enough

    handles = [block.register_forward_pre_hook(before, with_kwargs=True)]
    if outputs:
        handles.append(block.register_forward_hook(after))
    with removed_after(handles):
        for batch in batches:
            seen_inputs.clear()
            seen_outputs.clear()
            with suppress(_Enough):
                model(batch)
            stop = start + len(batch)
            result.inputs = _keep(result.inputs, seen_inputs, images, start, stop, store)
            if outputs:
                result.outputs = _keep(result.outputs, seen_outputs, images, start, stop, store)
            start = stop
    return result


def _keep(kept, seen: list[Tensor], images: int, start: int, stop: int, store: TensorStore) -> Tensor:
    same = [tensor for tensor in seen if tensor.shape == seen[0].shape]  # calls of another shape are left out
    grouped = [tensor.reshape(stop - start, -1, *tensor.shape[1:]) for tensor in same]
    block = torch.cat(grouped, dim=1)  # [batch, group, ...]
    if kept is None:
        kept = store.empty((images, *block.shape[1:]), block.dtype)
    kept[start:stop] = block
    return kept


def _layout(tensor: Tensor) -> torch.memory_format:
    last = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last and not tensor.is_contiguous() else torch.contiguous_format
