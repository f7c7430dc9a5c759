"""Tables of an evaluation: every form's figures, the data sets and manipulations, perturbation curves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

_FORMS = {"float": "float", "quantized": "M_q", "mixed": "M_q^v", "exported": "exported file"}
#: Figure -> its column, in order; a figure that a convention does not know is left out.
_RANKS = {"video_auc": "video AUC", "eer": "EER", "ap": "AP"}
_VERDICTS = {
    "accuracy": "accuracy", "balanced_accuracy": "balanced", "accuracy_at_half": "at 0.5",
    "balanced_accuracy_at_half": "balanced at 0.5", "tpr_at_1_percent_fpr": "TPR 1 %",
    "tpr_at_5_percent_fpr": "TPR 5 %", "ece": "ECE",
}  # fmt: skip


def evaluation_tables(found: Mapping[str, Any]) -> list[Table]:
    """What ``evaluate_forms`` or ``evaluate_exported`` found: forms, their verdicts, and the data's parts."""
    forms, parts = found["forms"], _parts(found["forms"])
    tables = [_ranks_table(found), _verdicts_table(forms)]
    return [*tables, _parts_table(forms, parts)] if len(parts) > 1 else tables


def _ranks_table(found: Mapping[str, Any]) -> Table:
    forms = found["forms"]
    convention = "" if found["convention"] == "default" else f", by {found['convention']}'s convention"
    table = Table(title=f"{found['n']:,} images, {found['video'].get('n', 0):,} videos{convention}")
    paired = any("drop" in own for own in forms.values())
    table.add_column("form")
    for title in ("AUC", "95 % interval", *(["lost to float"] if paired else []), *_RANKS.values()):
        table.add_column(title, justify="right")
    for form, own in forms.items():
        lost = [_difference(own.get("drop"))] if paired else []
        cells = [_number(own[key]) for key in _RANKS]
        table.add_row(_form(form), _number(own["auc"]), _interval(own["auc_interval"]), *lost, *cells)
    return table


def _verdicts_table(forms: Mapping[str, Any]) -> Table:
    """At each form's own threshold and at 0.5; the notes below."""
    notes = dict.fromkeys(f"{_form(form)}: {note}" for form, own in forms.items() for note in own["notes"])
    table = Table(caption="\n".join(notes) or None)
    columns = [key for key in _VERDICTS if key in next(iter(forms.values()))]
    table.add_column("form")
    for key in columns:
        table.add_column(_VERDICTS[key], justify="right")
    for form, own in forms.items():
        table.add_row(_form(form), *(_number(own[key]) for key in columns))
    return table


def _parts(forms: Mapping[str, Any]) -> list[tuple[str, dict]]:
    """Data sets and, below each, its manipulations: name and figures by form."""
    first = next(iter(forms.values()))
    rows = []
    for dataset, part in first["per_dataset"].items():
        rows.append((dataset, {form: own["per_dataset"][dataset] for form, own in forms.items()}))
        for name in part["per_manipulation"] if len(part["per_manipulation"]) > 1 else ():
            each = {
                form: own["per_dataset"][dataset]["per_manipulation"][name] for form, own in forms.items()
            }
            rows.append((f"  {name}", each))
    if first["mean"] and first["mean"]["datasets"] > 1:
        rows.append(("mean of data sets", {form: own["mean"] for form, own in forms.items()}))
    return rows


def _parts_table(forms: Mapping[str, Any], parts: Sequence[tuple[str, dict]]) -> Table:
    """AUC of frames; in brackets what is lost to float."""
    table = Table(title="AUC by data set and manipulation")
    table.add_column("data")
    table.add_column("images", justify="right")
    for form in forms:
        table.add_column(_form(form), justify="right")
        if form != "float" and "float" in forms:
            table.add_column("lost to float", justify="right")
    for name, figures in parts:
        cells = []
        for form, own in figures.items():
            cells.append(_number(own.get("auc")))
            if form != "float" and "float" in forms:
                cells.append(_difference(own.get("drop")))
        images = next(iter(figures.values())).get("n")
        table.add_row(name, "" if images is None else f"{images:,}", *cells)
    return table


def curves_table(found: Mapping[str, Any]) -> Table:
    """What ``robustness`` found: AUC by kind and level, what a form loses to float, and how much more that is
    than on clean pictures; the interval is the mean's.
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


def _curve_rows(points: Sequence[Mapping], mean: Mapping) -> Iterator[tuple[str, list[str], Mapping]]:
    """Label, a cell a level, and the mean's figures: each form, then its differences."""
    for form, own in sorted(mean.items(), key=lambda item: item[0] != "float"):
        yield _form(form), [_number(point["forms"][form]["auc"]) for point in points], own
    for key, words in (("drop", "below float"), ("extra_drop", "beyond clean")):
        for form, own in mean.items():
            if key in own:
                cells = [_number(point["forms"][form][key]["auc"]) for point in points]
                yield f"{_form(form)} {words}", cells, own[key]


def overview_table(found: Mapping[str, Any]) -> Table:
    """What ``make_table`` has: AUC by detector, method and data set, and sizes."""
    table = Table(title="AUC in percent; the tables and all intervals lie in table.md and table.json")
    table.add_column("detector")
    table.add_column("method")
    for title in (*found["auc"], "mean", "MiB", "smaller by"):
        table.add_column(title, justify="right")
    for row in found["spec"]["detectors"]:
        name = row["label"]
        for method in (method["label"] for method in found["spec"]["methods"]):
            size = found["sizes"].get(name, {}).get(method)
            if size is None:
                continue
            aucs = [values.get(name, {}).get(method) for values in found["auc"].values()]
            aucs.append(found["mean"].get(name, {}).get(method))
            table.add_row(
                name, method, *("" if value is None else f"{100 * value:.1f}" for value in aucs),
                f"{size['mib']:.2f}", f"{size['compression_percent']:.1f} %",
            )  # fmt: skip
    return table


def _form(name: str) -> str:
    return _FORMS.get(name, name)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _interval(ends: Sequence[float]) -> str:
    return f"{ends[0]:.3f} to {ends[1]:.3f}"


def _difference(found: Mapping[str, Any] | None) -> str:
    """A difference of AUCs with its interval; nothing where there is none."""
    return "" if not found else f"{found['auc']:.3f} ({_interval(found['auc_interval'])})"
