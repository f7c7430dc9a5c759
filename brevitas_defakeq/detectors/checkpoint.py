"""Reads checkpoints: files of weights to one state dict, without running code in them."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch

from brevitas_defakeq.detectors.entry import State
from brevitas_defakeq.detectors.parts.huggingface import huggingface_to_timm
from brevitas_defakeq.detectors.read_weights_file import read_weights_file
from brevitas_defakeq.utils.errors import UserError

_LOG = logging.getLogger(__name__)

#: The keys under which training scripts store averaged weights (EMA), which are the ones to use ...
_AVERAGED = (
    "state_dict_ema", "model_state_dict_ema", "model_ema_state_dict", "ema_state_dict", "model_ema",
    "ema_model", "params_ema", "ema",
)  # fmt: skip
#: ... and those of the raw ones; in each tuple the first one found counts.
_RAW = ("state_dict", "model_state_dict", "model", "net", "params")
#: Where averaging code keeps the tensors within its own state.
_WITHIN_AVERAGED = ("shadow", "module")
#: Prefixes that parallel training, weight averaging and `torch.compile` put before every name.
_TRAINING_PREFIXES = ("module.", "_orig_mod.")
_NAMED_AT_MOST = 10


#: Glob patterns of names to leave out -> how many names they left out so far; readers count there.
Ignored = dict[str, int]


def read_checkpoints(files: Sequence[Path], ignored: Ignored | None = None) -> State:
    """The tensors of all files together, classifiers of ``transformers`` under timm's names.

    Raises UserError where two files contain the same name, or one cannot be read.
    """
    state: State = {}
    for path in files:
        read = read_checkpoint(path, ignored)
        twice = next((name for name in read if name in state), None)
        if twice is not None:
            raise UserError(f"{path} holds {twice}, which another of the files holds too; give one")
        state |= read
    return huggingface_to_timm(state)


def read_checkpoint(path: str | os.PathLike, ignored: Ignored | None = None) -> State:
    """The state dict in a file, on the CPU: unwrapped, names without `module.` and `_orig_mod.`.

    Reads .safetensors, and .pth, .pt, .bin, .ckpt, .tar by torch's loader for tensors only: code in a pickle
    is never run. Of averaged (EMA) and raw weights the averaged ones are taken, as timm does, and a line says
    so. Names that ``ignored`` matches, also those of the parts of a file, are left out.

    Raises UserError for files that are missing, damaged, need code, or contain no tensors.
    """
    path, ignored = Path(path), {} if ignored is None else ignored
    tensors = _unwrap(read_weights_file(path), path, ignored)
    return {
        _bare(name): tensor for name, tensor in tensors.items() if not _is_ignored(ignored, name, _bare(name))
    }


def first_names(names: Sequence[Any]) -> str:
    """The first ten names, and how many more there are, for messages."""
    more = f" and {len(names) - _NAMED_AT_MOST} more" if len(names) > _NAMED_AT_MOST else ""
    return ", ".join(map(str, names[:_NAMED_AT_MOST])) + more


def _unwrap(content: Any, path: Path, ignored: Ignored) -> State:
    """The innermost state dict of a checkpoint."""
    while isinstance(content, Mapping):
        parts = {
            str(key): part
            for key, part in content.items()
            if isinstance(part, Mapping) and not _is_ignored(ignored, str(key))
        }
        raw = _raw_part(parts, alone=not _tensors(content))
        average = next((key for key in _AVERAGED if parts.get(key)), None)
        if average is not None and _averaged(parts[average]):
            return _with_average(average, raw, parts, path, ignored)
        if average is not None and average != raw:
            _LOG.warning("%s: %s has no tensors by name; the raw weights are taken", path, average)
        if raw is None:
            break
        content = parts[raw]
    tensors = _tensors(content)
    if not tensors:
        found = (
            f"a dictionary of {first_names(list(content))}"
            if isinstance(content, Mapping)
            else type(content).__name__
        )
        raise UserError(f"{path} holds no state dict but {found}; save model.state_dict() and give that file")
    return tensors


def _raw_part(parts: Mapping[str, Any], *, alone: bool) -> str | None:
    """The key of the raw weights: a usual one, or the only one with tensors.

    ``alone``: whether no tensors lie beside the parts.
    """
    usual = next((key for key in _RAW if key in parts and _holds_tensors(parts[key])), None)
    others = [key for key, part in parts.items() if _tensors(part) and key not in _AVERAGED]
    return others[0] if usual is None and alone and len(others) == 1 else usual


def _with_average(
    average: str, raw: str | None, parts: Mapping[str, Any], path: Path, ignored: Ignored
) -> State:
    """The averaged weights; what the averaging left out (buffers, often) from the raw ones."""
    averaged = {_bare(name): tensor for name, tensor in _averaged(parts[average]).items()}
    if raw is None:
        return averaged
    rest = {_bare(name): tensor for name, tensor in _unwrap(parts[raw], path, ignored).items()}
    kept = {name: rest[name] for name in rest if averaged.keys() <= rest.keys() and name not in averaged}
    more = f", and {len(kept)} tensors that it lacks from {raw}" * bool(kept)
    _LOG.warning(
        "%s: of the averaged and the raw weights the averaged ones (%s) are taken%s; "
        "--ignore-keys %s takes the raw ones", path, average, more, average,
    )  # fmt: skip
    return kept | averaged


def _is_ignored(ignored: Ignored, *names: str) -> bool:
    """Whether a pattern matches any of one thing's names; counted."""
    found = next((pattern for pattern in ignored for name in names if fnmatchcase(name, pattern)), None)
    if found is not None:
        ignored[found] += 1
    return found is not None


def _averaged(part: Mapping[Any, Any]) -> State:
    """The tensors of averaged weights, which may lie one level deeper; empty where they have no names."""
    within = next(
        (part[key] for key in (*_WITHIN_AVERAGED, *_RAW) if isinstance(part.get(key), Mapping)), part
    )
    return _tensors(within)


def _holds_tensors(content: Any) -> bool:
    """Whether there is a tensor at any depth."""
    if isinstance(content, Mapping):
        return any(_holds_tensors(part) for part in content.values())
    return isinstance(content, torch.Tensor)


def _tensors(content: Any) -> State:
    entries = content.items() if isinstance(content, Mapping) else ()
    return {str(name): value for name, value in entries if isinstance(value, torch.Tensor)}


def _bare(name: str) -> str:
    """A name without the prefixes of training, however many there are."""
    for prefix in _TRAINING_PREFIXES:
        if name.startswith(prefix):
            return _bare(name.removeprefix(prefix))
    return name
