"""Rows of the suite, read from their JSON files."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

Row = dict[str, Any]


class Setting(NamedTuple):
    """What the rows of one table share."""

    vehicle: str
    activation_bits: int
    bits: float


def by_setting(rows: Iterable[Row]) -> dict[Setting, list[Row]]:
    """Rows of 256 calibration images; those on few test images only where a setting has no others."""
    sizes: dict[Setting, dict[int, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        task = row["task"]
        if task["samples"] == 256:
            setting = Setting(task["vehicle"], task["activation_bits"], task["bits"])
            sizes[setting][task["test"]["in_domain"]].append(row)
    return {setting: found[max(found)] for setting, found in sizes.items()}


def by_method(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The seeds of each method."""
    methods = defaultdict(list)
    for row in rows:
        methods[row["task"]["method"]].append(row)
    return dict(methods)


def mean(rows: list[Row], read: Callable[[Row], float]) -> float:
    """Over the seeds."""
    return float(np.mean([read(row) for row in rows]))


def flips(row: Row) -> dict[str, Any]:
    """``share``, ``interval``, ``count``, ``n`` of the verdicts that change."""
    return row["metrics"]["fidelity"]["flips"]


def share_of_flips(row: Row) -> float:
    return flips(row)["share"]


def auc_kept(row: Row) -> float:
    return row["metrics"]["auc_kept"]


def relative_error(row: Row) -> float:
    return row["metrics"]["relative_error"]
