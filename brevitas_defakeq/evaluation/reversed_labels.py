"""Labels or a class order that look reversed, told by an AUC that is surely below one half."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def reversed_note(subsets: Mapping[str, Mapping[str, Any]]) -> str | None:
    """A sentence about the subsets whose AUC is below 0.5 with all of its 95 % interval; None for none.

    Args:
        subsets: name -> metrics with ``auc`` and ``auc_interval``; both are missing where one class is.
    """
    low = {name: found["auc"] for name, found in subsets.items() if looks_reversed(found)}
    if not low:
        return None
    listed = ", ".join(f"{name} ({value:.3f})" for name, value in low.items())
    return f"AUC below 0.5 on {listed}: labels or class order look reversed; nothing was flipped"


def looks_reversed(found: Mapping[str, Any]) -> bool:
    """Whether an AUC and its interval lie below one half."""
    return "auc_interval" in found and found["auc_interval"][1] < 0.5


def reversed_notes(variants: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """`reversed_note` on all data and on each data set of every variant, with the variant's name in front."""
    for variant, own in variants.items():
        note = reversed_note(named_subsets(own))
        if note:
            yield f"{variant}: {note}"


def named_subsets(own: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """A variant's metrics on all data and, if there are several, on each data set."""
    datasets = own.get("per_dataset", {})
    return {"all data": own, **(datasets if len(datasets) > 1 else {})}
