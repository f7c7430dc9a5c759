"""Which verdicts a compressed detector changes: the table below the AUCs, for runs and for evaluations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table


def fidelity_tables(variants: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    """Label of a variant -> its metrics: a table of those with ``fidelity``, images and then videos.

    Nothing where no flips were counted: without float, and in reports of earlier versions.
    """
    rows = [(label, *row) for label, own in variants.items() for row in _levels(own)]
    if not rows:
        return []
    threshold = rows[0][2]["flips"]["threshold"]
    table = Table(title=f"flips: verdicts that change at float's threshold, logit {threshold:g}")
    table.add_column("detector")
    for title in (
        "of",
        "verdicts as float",
        "flips",
        "95 % interval",
        "expected",
        "largest change of P(fake)",
    ):
        table.add_column(title, justify="right")
    for label, counted, fidelity in rows:
        table.add_row(label, counted, *_cells(fidelity))
    return [table]


def flips_cell(fidelity: Mapping[str, Any]) -> str:
    """The share of verdicts that flip, in percent; empty where it was not counted."""
    return f"{100 * fidelity['flips']['share']:.2f} %" if "flips" in fidelity else ""


def flips_interval(fidelity: Mapping[str, Any]) -> str:
    """The interval of that share, in percent."""
    low, high = fidelity["flips"]["interval"]
    return f"{100 * low:.2f} to {100 * high:.2f} %"


def expected_cell(fidelity: Mapping[str, Any]) -> str:
    """The expected share of flips, in percent; empty in reports of earlier versions."""
    return f"{100 * fidelity['expected_flips']['share']:.2f} %" if "expected_flips" in fidelity else ""


def _levels(own: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What was counted, and its fidelity: images and, where there are fewer of them, videos."""
    images, videos = own.get("fidelity", {}), own.get("video", {}).get("fidelity", {})
    if "flips" in images:
        yield f"{images['flips']['n']:,} images", images
        if "flips" in videos and videos["flips"]["n"] < images["flips"]["n"]:
            yield f"{videos['flips']['n']:,} videos", videos


def _cells(fidelity: Mapping[str, Any]) -> list[str]:
    agreement, change = fidelity["verdict_agreement"], fidelity["largest_probability_change"]
    counted = f"{100 * agreement:.1f} %", flips_cell(fidelity), flips_interval(fidelity)
    return [*counted, expected_cell(fidelity), f"{change:.3f}"]
