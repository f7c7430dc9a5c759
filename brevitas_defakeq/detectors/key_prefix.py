"""Finds the prefix by which a checkpoint's names differ from the model's, on either side."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

#: Prefixes that the names of some tensors have and those of others lack.
PREFIXES = ("backbone.", "model.", "net.")
_PAIRS = tuple("".join(pair) for pair in itertools.product(PREFIXES, repeat=2))


@dataclass(frozen=True)
class Renaming:
    """What becomes of a checkpoint's names: ``removed`` from the front where they have it, then ``added``."""

    removed: str = ""
    added: str = ""

    def __call__(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The state under the new names; a name whose shorter form exists too keeps its prefix."""
        short = {name: name.removeprefix(self.removed) for name in state}
        return {
            self.added + (name if short[name] != name and short[name] in state else short[name]): tensor
            for name, tensor in state.items()
        }

    def __str__(self) -> str:
        removed = f"{self.removed!r} is removed from" if self.removed else ""
        added = f"{self.added!r} is put before" if self.added else ""
        return " and ".join(filter(None, (removed, added))) + " its names"


def best_renaming(state: Mapping[str, torch.Tensor], shapes: Mapping[str, tuple[int, ...]]) -> Renaming:
    """The renaming under which most tensors have a name and shape of the model; of equal ones the simplest.

    ``shapes`` are the model's, by name.
    """
    if _fitting(Renaming(), state, shapes) == len(state):
        return Renaming()
    removable = ["", *PREFIXES, *_PAIRS, *_shared_prefixes(state)]
    addable = ["", *_shared_prefixes(shapes)]
    found = [Renaming(*pair) for pair in itertools.product(dict.fromkeys(removable), addable)]
    return max(found, key=lambda renaming: _fitting(renaming, state, shapes))


def _fitting(
    renaming: Renaming, state: Mapping[str, torch.Tensor], shapes: Mapping[str, tuple[int, ...]]
) -> int:
    return sum(shapes.get(name) == tuple(tensor.shape) for name, tensor in renaming(state).items())


def _shared_prefixes(names: Iterable[str]) -> list[str]:
    """Dotted prefixes that at least half of the names have, short ones first."""
    names = list(names)
    counts: Counter[str] = Counter()
    for name in names:
        parts = name.split(".")
        counts.update(".".join(parts[:end]) + "." for end in range(1, len(parts)))
    return [prefix for prefix, count in counts.items() if 2 * count >= len(names)]
