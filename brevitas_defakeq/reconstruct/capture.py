"""Inputs and outputs of a block on the calibration images, kept in memory or on disk."""

import os
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from brevitas_defakeq.config import DEFAULT_CACHE_BYTES
from brevitas_defakeq.nn.batch_input import copied_containers
from brevitas_defakeq.nn.hook_state import HookState
from brevitas_defakeq.nn.module_tree import removed_after
from brevitas_defakeq.utils.errors import UserError


class TensorStore:
    """Allocates tensors for captured activations; beyond ``limit_bytes`` in a temporary file."""

    def __init__(self, limit_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0

    def empty(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """An uninitialized tensor. Raises UserError where the disk is full."""
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
        """Count from 0 again: the tensors so far are no longer needed."""
        self.used_bytes = 0


def _reserve(descriptor: int, size: int) -> None:
    """Reserve disk space now: with a sparse file a full disk would kill the process later."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except AttributeError:  # not on this platform
        os.truncate(descriptor, size)
    except OSError as error:
        raise UserError(
            f"{tempfile.gettempdir()} has no space for {size / 2**20:.0f} MiB of captured activations "
            f"({error.strerror}); point TMPDIR elsewhere or raise --cache-memory"
        ) from error


@dataclass(kw_only=True)
class Captured:
    """A block's calls on M images.

    Attributes:
        inputs, outputs: [M, group, ...]; ``group`` is calls times rows of an image.
        rest, options: further arguments of the last call.
        memory_format, device: of the block's own input.
        image_dim: where the block itself has the dimension of images.
        overwrites: the block writes to its input.
        hook_state: of the model's own hooks, before the block ran alone.
        autocast: options of ``torch.autocast`` where the block runs inside one; else empty.
    """

    inputs: Tensor
    outputs: Tensor | None = None
    rest: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    memory_format: torch.memory_format = torch.contiguous_format
    device: torch.device = torch.device("cpu")
    image_dim: int = 0
    overwrites: bool = False
    hook_state: HookState | None = None
    autocast: dict[str, Any] = field(default_factory=dict)

    @property
    def targets(self) -> Tensor:
        """The outputs, where they were captured."""
        if self.outputs is None:
            raise ValueError("the outputs were not captured")
        return self.outputs

    def run(self, block: nn.Module, rows: Tensor) -> Tensor:
        """Output of ``block`` with the captured further arguments."""
        rows = rows.clone() if self.overwrites else rows
        with torch.autocast(self.device.type, **self.autocast) if self.autocast else nullcontext():
            output: Tensor = block(rows.movedim(0, self.image_dim), *self.rest, **self.options)
        if self.hook_state is not None:
            self.hook_state.restore()
        return output.movedim(self.image_dim, 0)

    def rows(self, tensor: Tensor, images: Tensor) -> Tensor:
        """The rows of some images as the block takes them: flattened to a batch, in its memory format."""
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
    image_dim: int = 0,
) -> Captured:
    """Run ``model`` on the batches up to ``block`` and keep its inputs (and outputs).

    Args:
        calls: how often the block runs in one forward pass.
        outputs: keep its outputs too; otherwise the pass stops in front of its last call.
        image_dim: dimension of its input and output that counts images.
    """
    images, start = sum(len(batch) for batch in batches), 0
    observed_inputs: list[Tensor] = []
    observed_outputs: list[Tensor] = []
    last_call: tuple[tuple[Any, ...], dict[str, Any]] | None = None
    overwrites = False
    autocast: dict[str, Any] = {}
    kept_inputs: Tensor | None = None
    kept_outputs: Tensor | None = None

    def before(_: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        nonlocal last_call
        # Copies: the block, or one behind it, may write to them.
        observed_inputs.append(arguments[0].detach().movedim(image_dim, 0).clone())
        last_call = copied_containers(arguments), copied_containers(options)
        kind = arguments[0].device.type
        if torch.is_autocast_enabled(kind):
            autocast["dtype"] = torch.get_autocast_dtype(kind)
        if not outputs and len(observed_inputs) == calls:
            raise _Enough

    def after(_: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> None:
        nonlocal overwrites
        now = arguments[0].detach().movedim(image_dim, 0)
        if start == 0:
            overwrites = overwrites or not torch.equal(now, observed_inputs[len(observed_outputs)])
        observed_outputs.append(output.detach().movedim(image_dim, 0).clone())
        if len(observed_outputs) == calls:
            raise _Enough

    hook_state = HookState(model)  # before there are hooks of ours
    handles = [block.register_forward_pre_hook(before, with_kwargs=True)]
    if outputs:
        handles.append(block.register_forward_hook(after))
    with removed_after(handles):
        for batch in batches:
            observed_inputs.clear()
            observed_outputs.clear()
            with suppress(_Enough):
                model(batch)
            hook_state.restore()
            stop = start + len(batch)
            kept_inputs = _keep(kept_inputs, observed_inputs, images, start, stop, store)
            if outputs:
                kept_outputs = _keep(kept_outputs, observed_outputs, images, start, stop, store)
            start = stop
    if kept_inputs is None or last_call is None:
        raise ValueError("no batches to capture")
    (first, *rest), options = last_call
    return Captured(
        inputs=kept_inputs, outputs=kept_outputs, rest=tuple(rest), options=options,
        memory_format=_layout(first), device=first.device, image_dim=image_dim, overwrites=overwrites,
        hook_state=hook_state, autocast=autocast,
    )  # fmt: skip


def _keep(
    kept: Tensor | None, calls: list[Tensor], images: int, start: int, stop: int, store: TensorStore
) -> Tensor:
    """Write one batch's calls to rows ``start:stop`` of ``kept`` [images, group, ...], made on first use."""
    same = [tensor for tensor in calls if tensor.shape == calls[0].shape]  # other shapes are left out
    grouped = [tensor.reshape(stop - start, -1, *tensor.shape[1:]) for tensor in same]
    block = torch.cat(grouped, dim=1)  # [batch, group, ...]
    if kept is None:
        kept = store.empty((images, *block.shape[1:]), block.dtype)
    kept[start:stop] = block
    return kept


def _layout(tensor: Tensor) -> torch.memory_format:
    last = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last and not tensor.is_contiguous() else torch.contiguous_format
