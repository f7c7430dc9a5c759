"""Loads a state dict into a detector's model, strictly, and explains what does not fit."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from brevitas_defakeq.detectors.checkpoint import first_names
from brevitas_defakeq.detectors.entry import DetectorEntry, State
from brevitas_defakeq.detectors.recognize import looks_like
from brevitas_defakeq.utils.errors import UserError

#: Prefixes by which a checkpoint's names may differ from the model's.
PREFIXES = ("backbone.", "model.", "net.")
#: Counters and constants that training or older library versions store and inference does not read.
_IGNORED_ENDINGS = ("num_batches_tracked", "n_averaged", "relative_position_index", "attn_mask")


@dataclass(frozen=True)
class FitReport:
    """Which tensors of a checkpoint and a model do not match.

    Attributes:
        missing: names of the model that the checkpoint lacks.
        unexpected: names of the checkpoint that the model lacks.
        shape_mismatch: (name, the model's shape, the checkpoint's shape).
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    shape_mismatch: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]

    @property
    def fits(self) -> bool:
        """Whether names and shapes match exactly."""
        return not (self.missing or self.unexpected or self.shape_mismatch)


def load_detector_weights(
    model: nn.Module, state: State, entry: DetectorEntry | None, *, source: str
) -> dict[str, int]:
    """Load a checkpoint's tensors into a detector's model, strictly.

    Args:
        model: changed in place; untouched if an error is raised.
        state: the checkpoint's tensors.
        entry: converts the names of a published checkpoint; None for other models.
        source: names the checkpoint in messages.

    Returns:
        The tensors that were left out: kind of name -> count.

    Raises:
        UserError: naming what does not fit, and which detector the checkpoint belongs to.
    """
    if entry is None or entry.convert is None:
        load_state(model, state, source=source)
        return {}
    needed, dropped = without_unused(state, entry.unused)
    load_state(model, entry.convert(needed), source=source, prefixes=(), detector=entry.name, original=state)
    return dropped


def load_state(
    model: nn.Module,
    state: Mapping[str, torch.Tensor],
    *,
    source: str,
    prefixes: Sequence[str] = PREFIXES,
    detector: str | None = None,
    original: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Load a state dict into the model, strictly.

    Args:
        model: changed in place; untouched if an error is raised.
        state: the tensors by name; one of `prefixes` may be before every name.
        source: names the checkpoint in messages.
        prefixes: as in `fit_state`.
        detector: its name, for messages.
        original: the state before its names were converted, for messages.

    Raises:
        UserError: tensors are missing, unexpected, of another shape or not finite.
    """
    mapped, report = fit_state(model, state, prefixes=prefixes)
    if not report.fits:
        likeness = looks_like(original or state, but=detector)
        found = _explain(report)
        problem = f"{likeness} ({found})" if likeness else f"{found}; {_advice(mapped, report)}"
        raise UserError(f"{source} does not fit {detector or type(model).__name__}: {problem}")
    for name, tensor in mapped.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise UserError(
                f"{source}: {name} holds values that are not finite (NaN or infinity); take an intact file"
            )
    model.load_state_dict(mapped, strict=False)


def fit_state(
    model: nn.Module, state: Mapping[str, torch.Tensor], *, prefixes: Sequence[str] = PREFIXES
) -> tuple[dict[str, torch.Tensor], FitReport]:
    """The state under the model's names, and what does not fit.

    Of the prefixes, their pairs (`model.backbone.`) and none, the one whose removal makes most tensors fit is
    removed. Counters such as `num_batches_tracked` are ignored on both sides unless both have them.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    candidates = ["", *prefixes, *("".join(pair) for pair in itertools.product(prefixes, repeat=2))]
    renamed = (_without(state, prefix) for prefix in candidates)
    mapped = max(
        renamed, key=lambda names: sum(shapes.get(name) == tuple(names[name].shape) for name in names)
    )
    mapped = {name: tensor for name, tensor in mapped.items() if name in shapes or not _ignored(name)}
    report = FitReport(
        missing=tuple(name for name in shapes if name not in mapped and not _ignored(name)),
        unexpected=tuple(name for name in mapped if name not in shapes),
        shape_mismatch=tuple(
            (name, shapes[name], tuple(tensor.shape))
            for name, tensor in mapped.items()
            if name in shapes and shapes[name] != tuple(tensor.shape)
        ),
    )
    return mapped, report


def without_unused(state: State, patterns: Sequence[str]) -> tuple[State, dict[str, int]]:
    """The state without the names that match a pattern; and (matched text -> count) of those."""
    kept: State = {}
    dropped: Counter[str] = Counter()
    for name, tensor in state.items():
        found = next(filter(None, (re.search(pattern, name) for pattern in patterns)), None)
        if found is None:
            kept[name] = tensor
        else:
            dropped[found[0].strip(".")] += 1
    return kept, dict(dropped)


def _without(state: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The state with a prefix removed wherever that leaves the name unique."""
    short = {name: name.removeprefix(prefix) for name in state}
    return {name if short[name] in state else short[name]: tensor for name, tensor in state.items()}


def _ignored(name: str) -> bool:
    return name.endswith(_IGNORED_ENDINGS)


def _explain(report: FitReport) -> str:
    """The report in one line: counts and the first names of each kind."""
    shapes = [f"{name} (model {list(own)}, file {list(found)})" for name, own, found in report.shape_mismatch]
    kinds = {"missing": report.missing, "unexpected": report.unexpected, "of another shape": shapes}
    return "; ".join(f"{len(names)} {kind}: {first_names(names)}" for kind, names in kinds.items() if names)


def _advice(mapped: Mapping[str, torch.Tensor], report: FitReport) -> str:
    """What to change, guessed from what does not fit."""
    if len(report.unexpected) == len(mapped):
        return "no name fits, so these are the weights of another detector"
    return "check the detector's name, its model arguments and its number of classes"
