"""The tables in Markdown, in the form of the paper's Tables 1 to 5; a cell that is missing stays empty.

The paper's "detection accuracy" is the frames' AUC in percent, its MB are MiB; its GT is our float. In
brackets: the difference from float, in percentage points.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def markdown(found: Mapping[str, Any]) -> str:
    """All tables, from ``table.overview``."""
    first, *others = found["auc"]
    parts = [
        ("Table 1: storage (MiB), compression (%) and AUC (%) on " + first, _first(found, first)),
        ("Tables 2 and 3: AUC (%) on the other data sets, and the mean of all", _others(found, others)),
        ("Table 4: AUC (%) by method", _by_method(found)),
        ("Table 5: storage (MiB) and compression (%) by method", _sizes_by_method(found)),
        ("Losses of AUC against float, with paired 95 % intervals over videos", _losses(found)),
        ("Flips: verdicts (%) that change at float's threshold, with Wilson's 95 % intervals", _flips(found)),
    ]
    if found["notes"]:
        parts.insert(0, ("Notes", "".join(f"- {note}\n" for note in found["notes"])))
    return "\n".join(f"## {title}\n\n{table}" for title, table in parts)


def _first(found: Mapping, dataset: str) -> str:
    methods, sizes = _methods(found), found["sizes"]
    columns = ["detector"]
    columns += [f"{what}, {method}" for what in ("MiB", "compression", "AUC") for method in methods]
    return _table(
        columns,
        (
            [
                name,
                *(_number(sizes.get(name, {}).get(method, {}).get("mib"), 2) for method in methods),
                *(
                    _number(sizes.get(name, {}).get(method, {}).get("compression_percent"))
                    for method in methods
                ),
                *_aucs(found["auc"][dataset].get(name, {}), methods),
            ]
            for name in _detectors(found)
        ),
    )


def _others(found: Mapping, datasets: Sequence[str]) -> str:
    methods = _methods(found)
    columns = ["detector"]
    columns += [f"{dataset}, {method}" for dataset in (*datasets, "mean") for method in methods]
    tables = [*(found["auc"][dataset] for dataset in datasets), found["mean"]]
    return _table(
        columns,
        (
            [name, *(text for table in tables for text in _aucs(table.get(name, {}), methods))]
            for name in _detectors(found)
        ),
    )


def _by_method(found: Mapping) -> str:
    names, datasets = _detectors(found), found["auc"]
    columns = ["method", *(f"{dataset}, {name}" for dataset in datasets for name in names)]
    return _table(
        columns,
        (
            [
                method,
                *(_percent(datasets[each].get(name, {}).get(method)) for each in datasets for name in names),
            ]
            for method in _methods(found)
        ),
    )


def _sizes_by_method(found: Mapping) -> str:
    names, sizes = _detectors(found), found["sizes"]
    columns = ["method", *(f"{what}, {name}" for name in names for what in ("MiB", "compression"))]
    return _table(
        columns,
        (
            [
                method,
                *(
                    _number(sizes.get(name, {}).get(method, {}).get(key), digits)
                    for name in names
                    for key, digits in (("mib", 2), ("compression_percent", 1))
                ),
            ]
            for method in _methods(found)
        ),
    )


def _losses(found: Mapping) -> str:
    columns = ["detector", "data set", "method", "AUC", "interval", "loss", "interval", "video AUC", "EER"]
    rows = []
    for cell in found["cells"]:
        own = cell["figures"]
        drop = own.get("drop", {})
        rows.append(
            [
                cell["detector"], cell["dataset"], cell["method"],
                f"{own['auc']:.4f}", _interval(own["auc_interval"]), _number(drop.get("auc"), 4),
                _interval(drop.get("auc_interval")), _number(own["video_auc"], 4), f"{own['eer']:.4f}",
            ]
        )  # fmt: skip
    return _table(columns, rows)


def _flips(found: Mapping) -> str:
    columns = ["detector", "data set", "method", "images", "flips", "interval", "flips of videos"]
    columns += ["verdicts as float", "largest change of P(fake)"]
    rows = []
    for cell in found["cells"]:
        fidelity = cell["figures"].get("fidelity", {})
        if "flips" not in fidelity:  # float, and cells of versions that did not count them
            continue
        flips, videos = fidelity["flips"], cell["figures"]["video"].get("fidelity", {}).get("flips", {})
        low, high = flips["interval"]
        rows.append(
            [
                cell["detector"], cell["dataset"], cell["method"], str(flips["n"]),
                _percent(flips["share"], 2), f"{100 * low:.2f} to {100 * high:.2f}",
                _percent(videos.get("share"), 2), _percent(fidelity["verdict_agreement"]),
                _number(fidelity["largest_probability_change"], 3),
            ]
        )  # fmt: skip
    return _table(columns, rows)


def _aucs(values: Mapping[str, float], methods: Sequence[str]) -> list[str]:
    """AUCs in percent, those of other methods with their distance to float."""
    reference = values.get(methods[0])
    texts = []
    for method in methods:
        text, value = _percent(values.get(method)), values.get(method)
        if value is not None and reference is not None and method != methods[0]:
            text += f" ({100 * (value - reference):+.1f})"
        texts.append(text)
    return texts


def _detectors(found: Mapping) -> list[str]:
    return [row["label"] for row in found["spec"]["detectors"]]


def _methods(found: Mapping) -> list[str]:
    """Float first."""
    return [method["label"] for method in found["spec"]["methods"]]


def _number(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{100 * value:.{digits}f}"


def _interval(bounds: Sequence[float] | None) -> str:
    return "" if bounds is None else f"{bounds[0]:.4f} to {bounds[1]:.4f}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in (columns, *rows)]
    return "\n".join([lines[0], "|---" * len(columns) + "|", *lines[1:]]) + "\n"
