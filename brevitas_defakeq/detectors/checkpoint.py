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


class Ignored:
    """Glob patterns of names to leave out of checkpoints, and how many names each has left out."""

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        self.counts = dict.fromkeys(patterns, 0)

    def __call__(self, *names: str) -> bool:
        """Whether a pattern matches any of the names, which all are one thing's; counted."""
        found = next((p for p in self.counts for name in names if fnmatchcase(name, p)), None)
        if found is not None:
            self.counts[found] += 1
        return found is not None

    def check(self, source: str) -> None:
        """Raises UserError for a pattern that has left out nothing."""
        idle = [pattern for pattern, count in self.counts.items() if not count]
        if idle:
            raise UserError(
                f"--ignore-keys {idle[0]!r} matches no name in {source}; leave it out or correct it"
            )


def read_checkpoints(files: Sequence[Path], ignored: Ignored | None = None) -> State:
    """The tensors of all files together, classifiers of ``transformers`` under timm's names.

    Raises UserError where two files contain the same name, one cannot be read, or a pattern of ``ignored``
    matches nothing.
    """
    ignored = ignored or Ignored()
    state: State = {}
    for path in files:
        read = read_checkpoint(path, ignored)
        twice = next((name for name in read if name in state), None)
        if twice is not None:
            raise UserError(f"{path} holds {twice}, which another of the files holds too; give one")
        state |= read
    ignored.check(", ".join(map(str, files)))
    return huggingface_to_timm(state)


def read_checkpoint(path: str | os.PathLike, ignored: Ignored | None = None) -> State:
    """The state dict in a file, on the CPU: unwrapped, names without `module.` and `_orig_mod.`.

    Reads .safetensors, and .pth, .pt, .bin, .ckpt, .tar by torch's loader for tensors only: code in a pickle
    is never run. Of averaged (EMA) and raw weights the averaged ones are taken, as timm does, and a line says
    so. Names that ``ignored`` matches, also those of the parts of a file, are left out.

    Raises UserError for files that are missing, damaged, need code, or contain no tensors.
    """
    path, ignored = Path(path), ignored or Ignored()
    tensors = _unwrap(read_weights_file(path), path, ignored)
    return {_bare(name): tensor for name, tensor in tensors.items() if not ignored(name, _bare(name))}


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
            if isinstance(part, Mapping) and not ignored(str(key))
        }
        averaged = {key: _averaged(parts[key]) for key in _AVERAGED if key in parts}
        ema = next((key for key, part in averaged.items() if part), None)
        raw = next((key for key in _RAW if key in parts), None)
        nameless = next((key for key in averaged if parts[key] and ema is None), None)
        if nameless is not None:
            _LOG.warning("%s: %s has no tensors by name; the raw weights are taken", path, nameless)
        if ema is not None:
            return _with_average(averaged[ema], ema, parts, raw, path, ignored)
        alone = [key for key, part in parts.items() if _tensors(part)]
        if raw is None and len(alone) == 1 and not _tensors(content):
            raw = alone[0]
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


def _with_average(
    averaged: State, key: str, parts: Mapping[str, Any], raw: str | None, path: Path, ignored: Ignored
) -> State:
    """The averaged weights; what the averaging left out (buffers, often) from the raw ones."""
    if raw is None:
        return averaged
    rest = {_bare(name): tensor for name, tensor in _unwrap(parts[raw], path, ignored).items()}
    known = {_bare(name): tensor for name, tensor in averaged.items()}
    kept = (
        {name: tensor for name, tensor in rest.items() if name not in known}
        if known.keys() <= rest.keys()
        else {}
    )
    more = f", and {len(kept)} tensors that it lacks from {raw}" * bool(kept)
    _LOG.warning(
        "%s: of the averaged and the raw weights the averaged ones (%s) are taken%s; "
        "--ignore-keys %s takes the raw ones", path, key, more, key,
    )  # fmt: skip
    return {**kept, **known}


def _averaged(part: Mapping[Any, Any]) -> State:
    """The tensors of averaged weights, which may lie one level deeper; empty where they have no names."""
    within = next(
        (part[key] for key in (*_WITHIN_AVERAGED, *_RAW) if isinstance(part.get(key), Mapping)), part
    )
    return _tensors(within)


def _tensors(content: Any) -> State:
    entries = content.items() if isinstance(content, Mapping) else ()
    return {str(name): value for name, value in entries if isinstance(value, torch.Tensor)}


def _bare(name: str) -> str:
    """A name without the prefixes of training, however many there are."""
    for prefix in _TRAINING_PREFIXES:
        if name.startswith(prefix):
            return _bare(name.removeprefix(prefix))
    return name
