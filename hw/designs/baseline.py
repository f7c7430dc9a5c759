"""Baselines of a design's build: metrics with tolerances. Needs neither torch nor FINN."""

from collections.abc import Mapping

#: Metric -> largest relative deviation; newer versions of FINN may build slightly differently.
TOLERANCES = {"cycles": 0.0, "lut": 0.05, "bram18": 0.05, "dsp": 0.0, "weight_bits": 0.0, "auc": 0.005}


def baseline_metrics(report: Mapping, auc: float) -> dict[str, float]:
    """The metrics of a build's `report.json`, and the AUC on the design's faces."""
    totals = {name: report["totals"][name] for name in ("lut", "bram18", "dsp", "weight_bits")}
    return {"cycles": report["cycles"], **totals, "auc": auc}


def baseline(report: Mapping, auc: float) -> dict:
    """The content of `baseline.json`."""
    found = baseline_metrics(report, auc)
    return {
        "board": report["board"], "fps": report["wanted_fps"],
        "figures": {name: {"value": found[name], "tolerance": TOLERANCES[name]} for name in TOLERANCES},
        "versions": report["versions"],
    }  # fmt: skip


def baseline_violations(found: Mapping[str, float], kept: Mapping) -> list[str]:
    """One phrase per metric outside its tolerance.

    >>> kept = {"figures": {"lut": {"value": 100, "tolerance": 0.05}}}
    >>> baseline_violations({"lut": 104}, kept), baseline_violations({"lut": 106}, kept)
    ([], ['lut is 106, the baseline 100 within 5 %'])
    """
    return [
        f"{name} is {found[name]:g}, the baseline {rule['value']:g} within {100 * rule['tolerance']:g} %"
        for name, rule in kept["figures"].items()
        if abs(found[name] - rule["value"]) > rule["tolerance"] * abs(rule["value"]) + 1e-9
    ]
