"""Reads checkpoints: files of weights to one state dict, without running code in them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from brevitas_defakeq.detectors.entry import State
from brevitas_defakeq.detectors.parts.huggingface import huggingface_to_timm
from brevitas_defakeq.detectors.read_weights_file import read_weights_file
from brevitas_defakeq.utils.errors import UserError

#: The keys under which training scripts store the state dict; the first one found counts.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "model_ema")
#: Prefixes that parallel training, weight averaging and `torch.compile` put before every name.
_TRAINING_PREFIXES = ("module.", "_orig_mod.")
_NAMED_AT_MOST = 10


def read_checkpoints(files: Sequence[Path]) -> State:
    """The tensors of all files together, classifiers of ``transformers`` under timm's names.

    Raises UserError where two files contain the same name, or one cannot be read.
    """
    state: State = {}
    for path in files:
        read = read_checkpoint(path)
        twice = next((name for name in read if name in state), None)
        if twice is not None:
            raise UserError(f"{path} holds {twice}, which another of the files holds too; give one")
        state |= read
    return huggingface_to_timm(state)


def read_checkpoint(path: str | os.PathLike) -> State:
    """The state dict in a file, on the CPU: unwrapped, names without `module.` and `_orig_mod.`.

    Reads .safetensors, and .pth, .pt, .bin, .ckpt, .tar by torch's loader for tensors only: code in a pickle
    is never run. Raises UserError for files that are missing, damaged, need code, or contain no tensors.
    """
    path = Path(path)
    return {_bare(name): tensor for name, tensor in _unwrap(read_weights_file(path), path).items()}


def first_names(names: Sequence[Any]) -> str:
    """The first ten names, and how many more there are, for messages."""
    more = f" and {len(names) - _NAMED_AT_MOST} more" if len(names) > _NAMED_AT_MOST else ""
    return ", ".join(map(str, names[:_NAMED_AT_MOST])) + more


def _unwrap(content: Any, path: Path) -> State:
    """The innermost state dict of a checkpoint."""
    while isinstance(content, Mapping):
        wrapper = next((key for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if wrapper is None:
            break
        content = content[wrapper]
    entries = content.items() if isinstance(content, Mapping) else ()
    tensors = {str(name): value for name, value in entries if isinstance(value, torch.Tensor)}
    if not tensors:
        found = (
            f"a dictionary of {first_names(list(content))}"
            if isinstance(content, Mapping)
            else type(content).__name__
        )
        raise UserError(f"{path} holds no state dict but {found}; save model.state_dict() and give that file")
    return tensors


def _bare(name: str) -> str:
    """A name without the prefixes of training, however many there are."""
    for prefix in _TRAINING_PREFIXES:
        if name.startswith(prefix):
            return _bare(name.removeprefix(prefix))
    return name
