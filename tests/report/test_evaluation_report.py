"""Tables of an evaluation: what they show is what was found, for every convention and with every gap."""

from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from brevitas_defakeq.evaluation.frame_table import FrameTable
from brevitas_defakeq.evaluation.paired_auc import auc_estimates, mean_estimates
from brevitas_defakeq.evaluation.robustness import point_metrics
from brevitas_defakeq.evaluation.summary import summaries
from brevitas_defakeq.report.evaluation_report import curves_table, evaluation_tables, overview_table


def shown(*tables):
    """As it is printed where standard output is no terminal."""
    console = Console(file=StringIO(), width=110)
    console.print(*tables)
    return console.file.getvalue()


def frames(count=40):
    rows = []
    for index in range(count):
        label, dataset = index % 2, ("FF", "CDF")[index // 2 % 2]
        name = ("swap", "smile")[index // 4 % 2] if label and dataset == "FF" else ""
        rows.append((label, dataset, name, str(index), str(index)))
    return FrameTable.from_rows(rows)


@pytest.fixture(scope="module")
def scores():
    generator, labels = np.random.default_rng(0), frames().labels
    base = generator.normal(size=40) + labels
    return {"quantized": base + 0.3 * generator.normal(size=40), "float": base}


def evaluated(scores, **options):
    variants = summaries(frames(), scores, {}, **options)
    first = next(iter(variants))
    return {**variants[first], "form": first, "forms": variants}


def test_forms_and_parts(scores):
    found = evaluated(scores, no_face=3)
    text = shown(*evaluation_tables(found))
    own = found["forms"]["quantized"]
    ranks, verdicts, verdict_changes = (line for line in text.splitlines() if line.startswith("│ M_q "))
    for row, keys in (
        (ranks, ("auc", "video_auc", "eer", "ap")),
        (verdicts, ("accuracy", "balanced_accuracy_at_half", "tpr_at_1_percent_fpr", "ece")),
    ):
        for key in keys:
            assert f"{own[key]:.3f}" in row, key
    low, high = own["drop"]["auc_interval"]
    assert f"{own['drop']['auc']:.3f} ({low:.3f} to {high:.3f})" in ranks
    changes, flips = own["fidelity"], own["fidelity"]["flips"]
    assert 0 < flips["count"] == np.sum((scores["quantized"] > 0) != (scores["float"] > 0))
    low, high = (f"{100 * end:.2f}" for end in flips["interval"])
    for cell in (
        "40 images", f"{100 * changes['verdict_agreement']:.1f} %", f"{100 * flips['share']:.2f} %",
        f"{low} to {high} %", f"{changes['largest_probability_change']:.3f}",
    ):  # fmt: skip
        assert f"│ {cell} │" in " ".join(verdict_changes.split()), cell
    assert "3 frames had no face" in text and "40 images" in text
    for name in ("FF", "  swap", "  smile", "CDF", "mean of data sets"):
        assert name in text
    smile = next(line for line in text.splitlines() if "smile" in line)
    figures = own["per_dataset"]["FF"]["per_manipulation"]["smile"]
    assert f"{figures['auc']:.3f}" in smile and f"{figures['drop']['auc']:.3f} (" in smile
    assert f"│ {100 * figures['fidelity']['flips']['share']:.2f} % │" in smile


def test_one_form_of_that_benchmark(scores):
    found = evaluated({"float": scores["float"]}, convention="deepfakebench")
    text = shown(*evaluation_tables(found))
    assert "by deepfakebench's convention" in text and "ECE" not in text
    assert "lost to float" not in text and "flips" not in text


def test_a_data_set_without_reals(scores):
    labels = [0, 1, 0, 1, 1, 1]
    names = ["a"] * 4 + ["fakes"] * 2
    made = FrameTable.from_rows(
        (label, name, "", str(n), str(n)) for n, (label, name) in enumerate(zip(labels, names, strict=True))
    )
    variants = summaries(made, {"mixed": np.arange(6.0)}, {})
    text = shown(*evaluation_tables({**variants["mixed"], "form": "mixed", "forms": variants}))
    assert "M_q^v" in text and "no AUC of their own for fakes" in text


def test_curves(scores):
    made, labels = frames(), frames().labels

    def estimates(scores):
        return auc_estimates(made.labels, scores, groups=made.videos)

    clean = estimates({"float": scores["float"], "quantized": scores["quantized"]})
    noise = np.random.default_rng(1).normal(size=(2, len(labels)))
    points = [estimates({variant: values + grain for variant, values in scores.items()}) for grain in noise]
    mean = mean_estimates(points)
    found = {
        "n": 40, "levels": [1, 5], "clean": point_metrics(clean), "mean": point_metrics(mean, clean),
        "notes": ["so it is"],
        "perturbations": {
            "blur": {
                "points": [{"level": 1, "forms": point_metrics(points[0], clean)},
                           {"level": 5, "forms": point_metrics(points[1], clean)}],
                "mean": point_metrics(mean, clean),
            }
        },
    }  # fmt: skip
    text = shown(curves_table(found))
    lines = text.splitlines()
    start = next(n for n, line in enumerate(lines) if "blur" in line)
    wanted = (
        ("float", lambda own: own["float"]),
        ("M_q", lambda own: own["quantized"]),
        ("M_q below float", lambda own: own["quantized"]["drop"]),
        ("M_q beyond clean", lambda own: own["quantized"]["extra_drop"]),
    )
    for line, (label, pick) in zip(lines[start : start + 4], wanted, strict=True):
        cells = [cell.strip() for cell in line.strip("│").split("│")]
        every = [*(point_metrics(point, clean) for point in points), point_metrics(mean, clean)]
        assert cells[1] == label and cells[2:5] == [f"{pick(own)['auc']:.3f}" for own in every]
        low, high = pick(every[-1])["auc_interval"]
        assert cells[5] == f"{low:.3f} to {high:.3f}"
    assert "so it is" in text and "│ nothing " in text and "│ all " in text


def test_overview():
    found = {
        "spec": {"detectors": [{"label": "UCF"}], "methods": [{"label": "float"}, {"label": "missing"}]},
        "sizes": {"UCF": {"float": {"mib": 80.0, "compression_percent": 0.0}}},
        "auc": {"DFD": {"UCF": {"float": 0.849}}, "CDF": {}}, "mean": {}, "notes": ["UCF looks reversed"],
        "flips": {"DFD": {"UCF": {"DeFakeQ": 0.0045}}, "CDF": {"UCF": {"DeFakeQ": 0.02}}},
        "mean_flips": {"UCF": {"DeFakeQ": 0.0123}},
    }  # fmt: skip
    found["spec"]["methods"].append({"label": "DeFakeQ"})
    found["sizes"]["UCF"]["DeFakeQ"] = {"mib": 8.0, "compression_percent": 90.0}
    text = shown(overview_table(found))
    assert "UCF looks reversed" in text and "AUC in percent" in text
    assert "84.9" in text and "80.00" in text and "missing" not in text
    text = shown(overview_table(found, "flips"))
    assert "flips in percent" in text and "84.9" not in text
    line = next(line for line in text.splitlines() if "DeFakeQ" in line)
    assert [cell.strip() for cell in line.split("│")[3:6]] == ["0.45", "2.00", "1.23"]
