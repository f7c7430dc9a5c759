"""From files of weights to a detector's model: published names, parts that only train, what does not fit."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from brevitas_defakeq.detectors.checkpoint import load_state, read_checkpoint
from brevitas_defakeq.detectors.entry import DetectorEntry, State
from brevitas_defakeq.detectors.parts.huggingface import timm_names
from brevitas_defakeq.utils.errors import UserError


def read_weights(files: Sequence[Path]) -> State:
    """The tensors of all files together, classifiers of ``transformers`` under timm's names.

    Raises UserError where two files hold the same name, or one is unreadable.
    """
    state: State = {}
    for path in files:
        read = read_checkpoint(path)
        twice = next((name for name in read if name in state), None)
        if twice is not None:
            raise UserError(f"{path} holds {twice}, which another of the files holds too; give one")
        state |= read
    return timm_names(state)


def load_weights_(
    model: nn.Module, state: State, entry: DetectorEntry | None, *, source: str
) -> dict[str, int]:
    """Put a checkpoint's tensors into the model, strictly; gives what was left out: kind of name -> count.

    ``entry`` knows the names of a published checkpoint. Raises UserError, naming what is missing and what the
    file looks like.
    """
    if entry is None or entry.convert is None:
        load_state(model, state, source=source)
        return {}
    needed, dropped = without_unused(state, entry.unused)
    load_state(model, entry.convert(needed), source=source, prefixes=(), asked=entry.name, seen=state)
    return dropped


def without_unused(state: State, patterns: Sequence[str]) -> tuple[State, dict[str, int]]:
    """The state without the names that a pattern finds; what the patterns found, and how often."""
    kept, dropped = {}, Counter()
    for name, tensor in state.items():
        found = next(filter(None, (re.search(pattern, name) for pattern in patterns)), None)
        if found is None:
            kept[name] = tensor
        else:
            dropped[found[0].strip(".")] += 1
    return kept, dict(dropped)
