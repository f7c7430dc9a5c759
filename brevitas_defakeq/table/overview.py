"""All finished cells of a table as one JSON object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from brevitas_defakeq.evaluation.reversed_labels import reversed_notes

_MIB = 2**20


def overview(spec: Mapping[str, Any], cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What ``table.json`` holds.

    Returns:
        ``spec``; ``sizes``: detector -> method -> ``bytes``, ``mib``, ``compression_percent`` (100 less the
        share of the float weights' bytes) and ``average_bits``; ``auc``: data set -> detector -> method ->
        the frames' AUC; ``mean``: detector -> method -> the mean AUC, where every data set is there;
        ``cells``: all metrics of each; ``notes``: what to know before reading any of it, as sentences.
    """
    sizes: dict = {}
    aucs: dict = {name: {} for name in spec["datasets"]}
    for cell in cells:
        detector, method = cell["detector"], cell["method"]
        sizes.setdefault(detector, {})[method] = {
            "bytes": cell["size_bytes"],
            "mib": cell["size_bytes"] / _MIB,
            "compression_percent": 100 * (1 - cell["size_bytes"] / cell["float_bytes"]),
            "average_bits": cell["average_bits"],
        }
        aucs[cell["dataset"]].setdefault(detector, {})[method] = cell["figures"]["auc"]
    mean: dict = {}
    for detector, methods in sizes.items():
        for method in methods:
            values = [aucs[name].get(detector, {}).get(method) for name in aucs]
            if None not in values:
                mean.setdefault(detector, {})[method] = float(np.mean(values))
    notes = list(dict.fromkeys(note for cell in cells for note in _notes(cell)))
    return {"spec": spec, "sizes": sizes, "auc": aucs, "mean": mean, "cells": list(cells), "notes": notes}


def _notes(cell: Mapping[str, Any]) -> Iterator[str]:
    """A float detector without training, or whose labels look reversed."""
    if cell.get("untrained"):
        yield f"{cell['detector']}: its weights are random, so no number here says anything about its quality"
    if cell["method"] == "float":
        yield from reversed_notes({f"{cell['detector']} on {cell['dataset']}": cell["figures"]})
