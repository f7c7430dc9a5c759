"""All finished cells of a table as one JSON object."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from brevitas_defakeq.evaluation.reversed_labels import reversed_notes

_MIB = 2**20
#: Data set -> detector -> method -> one metric, of the cells that have it.
Values = dict[str, dict[str, dict[str, float]]]


def overview(spec: Mapping[str, Any], cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What ``table.json`` holds.

    Returns:
        ``spec``; ``sizes``: detector -> method -> ``bytes``, ``mib``, ``compression_percent`` (100 less the
        share of the float weights' bytes) and ``average_bits``; ``auc``: data set -> detector -> method ->
        the frames' AUC; ``mean``: detector -> method -> the mean AUC, where every data set is there;
        ``flips`` and ``mean_flips``: the same of the share of frames whose verdict flips (``fidelity``), of
        every method but float; ``cells``: all metrics of each; ``notes``: what to know before reading any of
        it, as sentences.
    """
    sizes: dict = {}
    for cell in cells:
        detector, method = cell["detector"], cell["method"]
        sizes.setdefault(detector, {})[method] = {
            "bytes": cell["size_bytes"],
            "mib": cell["size_bytes"] / _MIB,
            "compression_percent": 100 * (1 - cell["size_bytes"] / cell["float_bytes"]),
            "average_bits": cell["average_bits"],
        }
    aucs = _values(spec, cells, lambda metrics: metrics["auc"])
    flips = _values(spec, cells, _flips_share)
    notes = list(dict.fromkeys(note for cell in cells for note in _notes(cell)))
    return {
        "spec": spec, "sizes": sizes, "auc": aucs, "mean": _means(aucs), "flips": flips,
        "mean_flips": _means(flips), "cells": list(cells), "notes": notes,
    }  # fmt: skip


def _flips_share(metrics: Mapping[str, Any]) -> float | None:
    """The share of verdicts that flip; None for float, and in cells of versions that did not count them."""
    share: float | None = metrics.get("fidelity", {}).get("flips", {}).get("share")
    return share


def _values(
    spec: Mapping[str, Any],
    cells: Sequence[Mapping[str, Any]],
    read: Callable[[Mapping[str, Any]], float | None],
) -> Values:
    """``read`` of every cell's metrics, where it is not None."""
    found: Values = {name: {} for name in spec["datasets"]}
    for cell in cells:
        value = read(cell["figures"])
        if value is not None:
            found[cell["dataset"]].setdefault(cell["detector"], {})[cell["method"]] = value
    return found


def _means(values: Values) -> dict[str, dict[str, float]]:
    """Detector -> method -> the mean over the data sets, where all have the value."""
    first, *_ = values.values()
    means: dict[str, dict[str, float]] = {}
    for detector, methods in first.items():
        for method in methods:
            if all(method in of_dataset.get(detector, {}) for of_dataset in values.values()):
                each = [of_dataset[detector][method] for of_dataset in values.values()]
                means.setdefault(detector, {})[method] = float(np.mean(each))
    return means


def _notes(cell: Mapping[str, Any]) -> Iterator[str]:
    """A float detector without training, or whose labels look reversed."""
    if cell.get("untrained"):
        yield f"{cell['detector']}: its weights are random, so no number here says anything about its quality"
    if cell["method"] == "float":
        yield from reversed_notes({f"{cell['detector']} on {cell['dataset']}": cell["figures"]})
