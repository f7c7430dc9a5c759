"""Weights from files: read without running code, fitted to the model, loaded strictly."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from brevitas_defakeq.detectors.read_weights_file import read_weights_file
from brevitas_defakeq.detectors.recognize import looks_like
from brevitas_defakeq.utils.errors import UserError

PREFIXES = ("backbone.", "model.", "net.")

#: The keys under which training scripts store the state dict, the first that is there wins.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "model_ema")
#: What parallel training, weight averaging and `torch.compile` put before every name.
_WORN_PREFIXES = ("module.", "_orig_mod.")
#: Counters and constants that training or older library versions store and inference does not read.
_IGNORED_ENDINGS = ("num_batches_tracked", "n_averaged", "relative_position_index", "attn_mask")
_NAMED_AT_MOST = 10


@dataclass(frozen=True)
class FitReport:
    """What does not fit; `shape_mismatch` holds (name, the model's shape, the file's shape)."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    shape_mismatch: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]

    @property
    def fits(self) -> bool:
        """Whether every tensor has its place and every place its tensor."""
        return not (self.missing or self.unexpected or self.shape_mismatch)


def read_checkpoint(path: str | os.PathLike) -> dict[str, torch.Tensor]:
    """The state dict in a file, on the CPU: unwrapped, names without `module.` and `_orig_mod.`.

    Reads .safetensors, and .pth, .pt, .bin, .ckpt, .tar by torch's loader for tensors only: code in a pickle
    is never run. Raises UserError for files that are missing, damaged, need code, or hold no tensors.
    """
    path = Path(path)
    return _clean_names(_unwrap(read_weights_file(path), path))


def fit_state(
    model: nn.Module, state: Mapping[str, torch.Tensor], *, prefixes: Sequence[str] = PREFIXES
) -> tuple[dict[str, torch.Tensor], FitReport]:
    """The state under the model's names, and what does not fit.

    Of the prefixes, their pairs (`model.backbone.`) and none, the one whose removal lets most tensors find
    their place is removed. Counters such as `num_batches_tracked` are ignored on both sides unless both have
    them.
    """
    places = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    candidates = ["", *prefixes, *("".join(pair) for pair in itertools.product(prefixes, repeat=2))]
    renamed = (_without(state, prefix) for prefix in candidates)
    mapped = max(
        renamed, key=lambda names: sum(places.get(name) == tuple(names[name].shape) for name in names)
    )
    mapped = {name: tensor for name, tensor in mapped.items() if name in places or not _ignored(name)}
    report = FitReport(
        missing=tuple(name for name in places if name not in mapped and not _ignored(name)),
        unexpected=tuple(name for name in mapped if name not in places),
        shape_mismatch=tuple(
            (name, places[name], tuple(tensor.shape))
            for name, tensor in mapped.items()
            if name in places and places[name] != tuple(tensor.shape)
        ),
    )
    return mapped, report


def load_weights(model: nn.Module, path: str | os.PathLike, *, prefixes: Sequence[str] = PREFIXES) -> None:
    """Put a checkpoint's weights into the model, all of them or none.

    Raises UserError for what `read_checkpoint` and `load_state` refuse.
    """
    load_state(model, read_checkpoint(path), source=str(path), prefixes=prefixes)


def load_state(
    model: nn.Module,
    state: Mapping[str, torch.Tensor],
    *,
    source: str,
    prefixes: Sequence[str] = PREFIXES,
    asked: str | None = None,
    seen: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Put a state dict into the model, strictly; `source` names it in messages.

    `asked` is the detector's name and `seen` the state as the file has it, both for messages. Raises
    UserError, counting and naming the tensors, where they are missing, unexpected, of another shape or not
    finite; the model is then untouched.
    """
    mapped, report = fit_state(model, state, prefixes=prefixes)
    if not report.fits:
        likeness = looks_like(seen or state, but=asked)
        found = _explain(report)
        problem = f"{likeness} ({found})" if likeness else f"{found}; {_advice(mapped, report)}"
        raise UserError(f"{source} does not fit {asked or type(model).__name__}: {problem}")
    for name, tensor in mapped.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise UserError(
                f"{source}: {name} holds values that are not finite (NaN or infinity); take an intact file"
            )
    model.load_state_dict(mapped, strict=False)


def _unwrap(content: Any, path: Path) -> dict[str, torch.Tensor]:
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
            f"a dictionary of {_listed(list(content))}"
            if isinstance(content, Mapping)
            else type(content).__name__
        )
        raise UserError(f"{path} holds no state dict but {found}; save model.state_dict() and give that file")
    return tensors


def _clean_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state without the prefixes that training puts before names, however many there are."""
    return {_bare(name): tensor for name, tensor in state.items()}


def _bare(name: str) -> str:
    for prefix in _WORN_PREFIXES:
        if name.startswith(prefix):
            return _bare(name.removeprefix(prefix))
    return name


def _without(state: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The state with a prefix removed wherever that leaves the name unique."""
    short = {name: name.removeprefix(prefix) for name in state}
    return {name if short[name] in state else short[name]: tensor for name, tensor in state.items()}


def _ignored(name: str) -> bool:
    return name.endswith(_IGNORED_ENDINGS)


def _explain(report: FitReport) -> str:
    """The report in one line: counts and the first names of each kind."""
    shapes = [
        f"{name} (model {list(place)}, file {list(found)})" for name, place, found in report.shape_mismatch
    ]
    kinds = {"missing": report.missing, "unexpected": report.unexpected, "of another shape": shapes}
    return "; ".join(f"{len(names)} {kind}: {_listed(names)}" for kind, names in kinds.items() if names)


def _advice(mapped: Mapping[str, torch.Tensor], report: FitReport) -> str:
    """What to change, guessed from what does not fit."""
    if len(report.unexpected) == len(mapped):
        return "no name fits, so these are the weights of another detector"
    return "check the detector's name, its model arguments and its number of classes"


def _listed(names: Sequence[Any]) -> str:
    """The first ten names, and how many more there are."""
    more = f" and {len(names) - _NAMED_AT_MOST} more" if len(names) > _NAMED_AT_MOST else ""
    return ", ".join(map(str, names[:_NAMED_AT_MOST])) + more
