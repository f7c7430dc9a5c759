"""Tables of an evaluation: metrics by variant, by data set and manipulation, and perturbation curves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from brevitas_defakeq.evaluation.conventions import CONVENTIONS
from brevitas_defakeq.report.fidelity_table import fidelity_tables, flips_cell

_VARIANTS = {"float": "float", "quantized": "M_q", "mixed": "M_q^v", "exported": "exported file"}
#: Metric -> its column in the table of ranks, in order.
_RANKS = {"video_auc": "video AUC", "eer": "EER", "ap": "AP"}
#: Metric -> its column in the table of verdicts; one that is not here has its key as title.
_VERDICTS = {
    "accuracy": "accuracy", "balanced_accuracy": "balanced", "accuracy_at_half": "at 0.5",
    "balanced_accuracy_at_half": "balanced at 0.5", "tpr_at_1_percent_fpr": "TPR 1 %",
    "tpr_at_5_percent_fpr": "TPR 5 %", "ece": "ECE",
}  # fmt: skip
#: Metrics that only notes mention.
_NOTED = ("distinct_scores", "tied_share")
#: Metric of the overview -> its title, the key of its mean, and the decimals of its percentages.
_OVERVIEWS = {"auc": ("AUC", "mean", 1), "flips": ("flips", "mean_flips", 2)}


def evaluation_tables(found: Mapping[str, Any]) -> list[Table]:
    """What ``evaluate_variants`` found: ranks, verdicts, those that change against float, and AUC and flips
    by data set and manipulation.
    """
    variants = found["forms"]
    subsets = _subsets(variants)
    others = {_variant(name): own for name, own in variants.items() if name != "float"}
    tables = [
        _ranks_table(found), _verdicts_table(variants, found["convention"]), *fidelity_tables(others),
    ]  # fmt: skip
    return [*tables, _subsets_table(variants, subsets)] if len(subsets) > 1 else tables


def _ranks_table(found: Mapping[str, Any]) -> Table:
    variants = found["forms"]
    convention = "" if found["convention"] == "default" else f", by {found['convention']}'s convention"
    table = Table(title=f"{found['n']:,} images, {found['video'].get('n', 0):,} videos{convention}")
    paired = any("drop" in own for own in variants.values())
    table.add_column("variant")
    for title in ("AUC", "95 % interval", *(["lost to float"] if paired else []), *_RANKS.values()):
        table.add_column(title, justify="right")
    for name, own in variants.items():
        lost = [_difference(own.get("drop"))] if paired else []
        cells = [_number(own[key]) for key in _RANKS]
        table.add_row(_variant(name), _number(own["auc"]), _interval(own["auc_interval"]), *lost, *cells)
    return table


def _verdicts_table(variants: Mapping[str, Any], convention: str) -> Table:
    """At each variant's own threshold and at 0.5; the notes below."""
    notes = dict.fromkeys(
        f"{_variant(name)}: {note}" for name, own in variants.items() for note in own["notes"]
    )
    table = Table(caption="\n".join(notes) or None)
    shown = [key for key in CONVENTIONS[convention].metrics if key not in _RANKS and key not in _NOTED]
    table.add_column("variant")
    for key in shown:
        table.add_column(_VERDICTS.get(key, key), justify="right")
    for name, own in variants.items():
        table.add_row(_variant(name), *(_number(own[key]) for key in shown))
    return table


def _subsets(variants: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Data sets and, below each, its manipulations: title, and metrics by variant."""
    first = next(iter(variants.values()))
    rows = []
    for dataset, subset in first["per_dataset"].items():
        of_dataset = {name: own["per_dataset"][dataset] for name, own in variants.items()}
        rows.append((dataset, of_dataset))
        manipulations = subset["per_manipulation"]
        for kind in manipulations if len(manipulations) > 1 else ():
            rows.append(
                (f"  {kind}", {name: own["per_manipulation"][kind] for name, own in of_dataset.items()})
            )
    if first["mean"] and first["mean"]["datasets"] > 1:
        rows.append(("mean of data sets", {name: own["mean"] for name, own in variants.items()}))
    return rows


def _subsets_table(variants: Mapping[str, Any], subsets: Sequence[tuple[str, dict[str, Any]]]) -> Table:
    """AUC of frames, what is lost to float with its interval, and the share of verdicts that flip."""
    table = Table(title="AUC by data set and manipulation")
    table.add_column("data")
    table.add_column("images", justify="right")
    for name in variants:
        table.add_column(_variant(name), justify="right")
        if name != "float" and "float" in variants:
            table.add_column("lost to float", justify="right")
            table.add_column("flips", justify="right")
    for title, metrics in subsets:
        cells = []
        for name, own in metrics.items():
            cells.append(_number(own.get("auc")))
            if name != "float" and "float" in variants:
                cells += [_difference(own.get("drop")), flips_cell(own.get("fidelity", {}))]
        images = next(iter(metrics.values())).get("n")
        table.add_row(title, "" if images is None else f"{images:,}", *cells)
    return table


def curves_table(found: Mapping[str, Any]) -> Table:
    """What ``robustness`` found: AUC by perturbation and level, what a variant loses to float, and how much
    more that is than on clean images; the interval is the mean's.
    """
    table = Table(title=f"AUC of {found['n']:,} perturbed images", caption="\n".join(found["notes"]))
    table.add_column("perturbed by", no_wrap=True)
    table.add_column("")
    for title in (*(f"at {level}" for level in found["levels"]), "mean", "95 % interval"):
        table.add_column(title, justify="right")
    curves = {name: (curve["points"], curve["mean"]) for name, curve in found["perturbations"].items()}
    for name, (points, mean) in {
        "nothing": ([], found["clean"]),
        **curves,
        "all": ([], found["mean"]),
    }.items():
        rows = list(_curve_rows(points, mean))
        for index, (label, levels, average) in enumerate(rows):
            levels = [*levels, *[""] * (len(found["levels"]) - len(levels))]
            shown = (_number(average["auc"]), _interval(average["auc_interval"]))
            end = index == len(rows) - 1
            table.add_row(name if index == 0 else "", label, *levels, *shown, end_section=end)
    return table


def _curve_rows(
    points: Sequence[Mapping[str, Any]], mean: Mapping[str, Any]
) -> Iterator[tuple[str, list[str], Mapping[str, Any]]]:
    """Label, a cell a level, and the mean's metrics: each variant, then its differences."""
    for name, own in sorted(mean.items(), key=lambda item: item[0] != "float"):
        yield _variant(name), [_number(point["forms"][name]["auc"]) for point in points], own
    for key, words in (("drop", "below float"), ("extra_drop", "beyond clean")):
        for name, own in mean.items():
            if key in own:
                cells = [_number(point["forms"][name][key]["auc"]) for point in points]
                yield f"{_variant(name)} {words}", cells, own[key]


def overview_table(found: Mapping[str, Any], metric: str = "auc") -> Table:
    """What ``make_table`` found: a metric ("auc" or "flips") by detector, method and data set, and sizes."""
    word, mean_key, digits = _OVERVIEWS[metric]
    values, mean = found[metric], found[mean_key]
    table = Table(
        title=f"{word} in percent; the tables and all intervals are in table.md and table.json",
        caption="\n".join(found["notes"]) or None,
    )
    table.add_column("detector")
    table.add_column("method")
    for title in (*values, "mean", "MiB", "smaller by"):
        table.add_column(title, justify="right")
    for row in found["spec"]["detectors"]:
        name = row["label"]
        for method in (method["label"] for method in found["spec"]["methods"]):
            size = found["sizes"].get(name, {}).get(method)
            if size is None:
                continue
            cells = [of_dataset.get(name, {}).get(method) for of_dataset in (*values.values(), mean)]
            table.add_row(
                name, method, *("" if value is None else f"{100 * value:.{digits}f}" for value in cells),
                f"{size['mib']:.2f}", f"{size['compression_percent']:.1f} %",
            )  # fmt: skip
    return table


def _variant(name: str) -> str:
    return _VARIANTS.get(name, name)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _interval(bounds: Sequence[float]) -> str:
    return f"{bounds[0]:.3f} to {bounds[1]:.3f}"


def _difference(found: Mapping[str, Any] | None) -> str:
    """A difference of AUCs with its interval; nothing where there is none."""
    return "" if not found else f"{found['auc']:.3f} ({_interval(found['auc_interval'])})"
