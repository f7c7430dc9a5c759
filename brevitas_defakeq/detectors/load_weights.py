"""Loads a state dict into a detector's model, strictly, and explains what does not fit."""

from __future__ import annotations

import logging
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from brevitas_defakeq.detectors.checkpoint import first_names
from brevitas_defakeq.detectors.entry import DetectorEntry, State
from brevitas_defakeq.detectors.key_prefix import Renaming, best_renaming
from brevitas_defakeq.detectors.recognize import looks_like
from brevitas_defakeq.utils.errors import UserError

_LOG = logging.getLogger(__name__)

#: Counters and constants that training or older library versions store and inference does not read.
_IGNORED_ENDINGS = ("num_batches_tracked", "n_averaged", "relative_position_index", "attn_mask")
#: Heads of so many classes are ImageNet's.
_IMAGENET_CLASSES = (1000, 1001, 10450, 11221, 11821, 21841, 21842, 21843)
_PATTERNS_AT_MOST = 3


@dataclass(frozen=True)
class FitReport:
    """Which tensors of a checkpoint and a model do not match.

    Attributes:
        missing: names of the model that the checkpoint lacks.
        unexpected: names of the checkpoint that the model lacks.
        shape_mismatch: (name, the model's shape, the checkpoint's shape).
        renaming: what was done to the checkpoint's names first.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    shape_mismatch: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    renaming: Renaming = Renaming()

    @property
    def fits(self) -> bool:
        """Whether names and shapes match exactly."""
        return not (self.missing or self.unexpected or self.shape_mismatch)

    @property
    def only_unexpected(self) -> bool:
        """Whether the model has all of its tensors, and the checkpoint others besides."""
        return not (self.fits or self.missing or self.shape_mismatch)


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
        fixed_head = entry is not None and entry.timm_name is None
        load_state(model, state, source=source, fixed_head=fixed_head)
        return {}
    needed, dropped = without_unused(state, entry.unused)
    load_state(
        model, entry.convert(needed), source=source, renames=False, fixed_head=True, detector=entry.name,
        original=state,
    )  # fmt: skip
    return dropped


def load_state(
    model: nn.Module,
    state: Mapping[str, torch.Tensor],
    *,
    source: str,
    renames: bool = True,
    fixed_head: bool = False,
    detector: str | None = None,
    original: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Load a state dict into the model, strictly.

    Args:
        model: changed in place; untouched if an error is raised.
        state: the tensors by name; a prefix before the names of either side is found, and a line says so.
        source: names the checkpoint in messages.
        renames: as in `fit_state`.
        fixed_head: whether the model cannot be built with another number of classes.
        detector: its name, for messages.
        original: the state before its names were converted, for messages.

    Raises:
        UserError: tensors are missing, unexpected, of another shape or not finite.
    """
    mapped, report = fit_state(model, state, renames=renames)
    if not report.fits:
        advice = "" if fixed_head else _head_advice(report)
        if report.only_unexpected and original is None:
            advice = _ignoring(dict(zip(state, report.renaming(state), strict=True)), report.unexpected)
        likeness = None if advice else looks_like(original or state, but=detector)
        found = _explain(report)
        problem = f"{likeness} ({found})" if likeness else f"{found}; {advice or _advice(mapped, report)}"
        raise UserError(f"{source} does not fit {detector or type(model).__name__}: {problem}")
    for name, tensor in mapped.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise UserError(
                f"{source}: {name} holds values that are not finite (NaN or infinity); take an intact file"
            )
    if report.renaming != Renaming():
        _LOG.warning("%s: %s, so that all fit", source, report.renaming)
    model.load_state_dict(mapped, strict=False)


def fit_state(
    model: nn.Module, state: Mapping[str, torch.Tensor], *, renames: bool = True
) -> tuple[dict[str, torch.Tensor], FitReport]:
    """The state under the model's names, and what does not fit.

    With ``renames``, the prefix is removed or added that makes most tensors fit. Counters such as
    `num_batches_tracked` are ignored on both sides unless both have them.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    renaming = best_renaming(state, shapes) if renames else Renaming()
    mapped = {
        name: tensor for name, tensor in renaming(state).items() if name in shapes or not _ignored(name)
    }
    report = FitReport(
        missing=tuple(name for name in shapes if name not in mapped and not _ignored(name)),
        unexpected=tuple(name for name in mapped if name not in shapes),
        shape_mismatch=tuple(
            (name, shapes[name], tuple(tensor.shape))
            for name, tensor in mapped.items()
            if name in shapes and shapes[name] != tuple(tensor.shape)
        ),
        renaming=renaming,
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


def _ignored(name: str) -> bool:
    return name.endswith(_IGNORED_ENDINGS)


def _explain(report: FitReport) -> str:
    """The report in one line: counts and the first names of each kind."""
    shapes = [f"{name} (model {list(own)}, file {list(found)})" for name, own, found in report.shape_mismatch]
    kinds = {"missing": report.missing, "unexpected": report.unexpected, "of another shape": shapes}
    return "; ".join(f"{len(names)} {kind}: {first_names(names)}" for kind, names in kinds.items() if names)


def _head_advice(report: FitReport) -> str:
    """What to change where nothing but the number of classes differs; empty where more does."""
    rows = {(own[:1], found[:1]) for _, own, found in report.shape_mismatch}
    alike = all(own[1:] == found[1:] for _, own, found in report.shape_mismatch)
    if report.missing or report.unexpected or len(rows) != 1 or not alike:
        return ""
    ((own, found),) = rows
    if not (own and found):
        return ""
    advice = f"its head has {found[0]} classes: add --model-arg num_classes={found[0]}"
    if found[0] > 2:
        advice += ", and --fake-index or --real-index"
    if found[0] in _IMAGENET_CLASSES:
        advice += "; as many as ImageNet has: if it is the backbone alone, give the trained detector's file"
    return advice


def _advice(mapped: Mapping[str, torch.Tensor], report: FitReport) -> str:
    """What to change, guessed from what does not fit."""
    if len(report.unexpected) == len(mapped):
        return "no name fits, so these are the weights of another detector"
    return "check the detector's name, its model arguments and its number of classes"


def _ignoring(names: Mapping[str, str], unexpected: Sequence[str]) -> str:
    """The options that leave the unexpected names out; ``names``: in the file -> in the model."""
    options = " ".join(f"--ignore-keys {pattern}" for pattern in _patterns(names, unexpected))
    return f"if the detector does not need them, add {options}"


def _patterns(names: Mapping[str, str], unexpected: Sequence[str]) -> list[str]:
    """A few glob patterns, quoted for a shell, of the unexpected names in the file and of no other."""
    left = set(unexpected)
    known = [name for name, renamed in names.items() if renamed not in left and not _ignored(name)]
    modules = {name.partition(".")[0] for name in known}
    endings = {name.rpartition(".")[2] for name in known}
    found: dict[str, None] = {}
    for name in (name for name, renamed in names.items() if renamed in left):
        top, dot, _ = name.partition(".")
        ending = name.rpartition(".")[2]
        if top not in modules:
            found[f"{top}.*" if dot else name] = None
        else:
            found[name if ending in endings else f"*.{ending}"] = None
    listed = [shlex.quote(pattern) for pattern in found]
    return listed if len(listed) <= _PATTERNS_AT_MOST else [*listed[:_PATTERNS_AT_MOST], "..."]
