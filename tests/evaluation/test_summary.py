"""All metrics of several variants, each against scikit-learn on the frames or videos that it is about."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as reference

from brevitas_defakeq.evaluation.bootstrap import auc_interval, bootstrap_aucs
from brevitas_defakeq.evaluation.frame_table import FrameTable
from brevitas_defakeq.evaluation.metrics import Curve, calibration_error
from brevitas_defakeq.evaluation.paired_auc import auc_drops, auc_estimates
from brevitas_defakeq.evaluation.summary import summaries
from brevitas_defakeq.utils.errors import UserError


@pytest.fixture(scope="module")
def made(as_samples):
    """Two data sets of 30 videos with 4 frames each; one of them has two manipulations."""
    generator = np.random.default_rng(4)
    rows = []
    for dataset in ("FF", "Celeb"):
        for video in range(30):
            label = video % 2
            name = ("Deepfakes", "FaceSwap")[video // 2 % 2] if dataset == "FF" and label else ""
            rows += [(label, f"{video:03d}", dataset, name)] * 4
    labels, videos, datasets, manipulations = map(list, zip(*rows, strict=True))
    samples = as_samples(labels, videos, datasets, manipulations)
    order = generator.permutation(len(samples))
    samples = [samples[index] for index in order]
    labels = np.array([sample.label for sample in samples])
    base = generator.normal(size=len(samples)) + labels
    scores = {"float": base, "quantized": np.round(base + 0.4 * generator.normal(size=len(base)), 1)}
    return samples, scores, summaries(FrameTable.from_samples(samples), scores, {"quantized": 0.3})


def column(samples, name):
    return np.array([getattr(sample, name) for sample in samples])


def of_videos(samples, scores, chosen):
    """Label and mean score of every video of the chosen frames."""
    groups = {}
    for index in np.flatnonzero(chosen):
        sample = samples[index]
        groups.setdefault((sample.dataset, sample.label, sample.video), []).append(scores[index])
    return [label for _, label, _ in groups], [np.mean(values) for values in groups.values()]


def check(found, samples, scores, chosen, threshold):
    labels, own = column(samples, "label")[chosen], scores[chosen]
    assert found["n"] == chosen.sum()
    assert (found["fake"], found["real"]) == (labels.sum(), (1 - labels).sum())
    assert found["auc"] == pytest.approx(reference.roc_auc_score(labels, own), abs=1e-12)
    assert found["ap"] == pytest.approx(reference.average_precision_score(labels, own), abs=1e-12)
    assert found["eer"] == Curve.of(labels, own).eer() and found["ece"] == calibration_error(labels, own)
    for suffix, border in (("", threshold), ("_at_half", 0.0)):
        assert found[f"accuracy{suffix}"] == np.mean((own > border) == labels)
        balanced = reference.balanced_accuracy_score(labels, own > border)
        assert found[f"balanced_accuracy{suffix}"] == pytest.approx(balanced, abs=1e-12)
    video_labels, means = of_videos(samples, scores, chosen)
    assert found["video_auc"] == pytest.approx(reference.roc_auc_score(video_labels, means), abs=1e-12)
    assert found["video"]["auc"] == found["video_auc"] and found["video"]["n"] == len(means)
    assert found["video"]["ap"] == pytest.approx(reference.average_precision_score(video_labels, means))
    low, high = found["auc_interval"]
    assert low < found["auc"] < high
    # frames of a video are drawn together: for scores that are independent within it the widths agree
    assert found["video_auc_interval"][0] < found["video_auc"] < found["video_auc_interval"][1]


def test_every_level_of_every_form(made):
    samples, scores, found = made
    datasets, labels = column(samples, "dataset"), column(samples, "label")
    for variant, threshold in (("float", 0.0), ("quantized", 0.3)):
        whole, own = found[variant], scores[variant]
        assert whole["threshold"] == threshold and whole["convention"] == "default"
        check(whole, samples, own, np.ones(len(samples), bool), threshold)
        assert list(whole["per_dataset"]) == ["Celeb", "FF"]
        for name, part in whole["per_dataset"].items():
            check(part, samples, own, datasets == name, threshold)
        manipulations = whole["per_dataset"]["FF"]["per_manipulation"]
        assert list(manipulations) == ["Deepfakes", "FaceSwap"]
        for name, part in manipulations.items():
            chosen = (datasets == "FF") & ((labels == 0) | (column(samples, "manipulation") == name))
            check(part, samples, own, chosen, threshold)
        assert whole["per_dataset"]["Celeb"]["per_manipulation"] == {}


def test_the_mean_over_data_sets(made):
    _, _, found = made
    for variant in found:
        mean, parts = found[variant]["mean"], found[variant]["per_dataset"].values()
        assert mean["datasets"] == 2
        for key in ("auc", "video_auc", "eer", "ap"):
            assert mean[key] == pytest.approx(np.mean([part[key] for part in parts]))
        low, high = mean["auc_interval"]
        widths = [np.diff(part["auc_interval"])[0] for part in parts]
        assert low < mean["auc"] < high
        # of two that are drawn independently: about the root of the sum of squares, halved
        assert high - low == pytest.approx(np.hypot(*widths) / 2, rel=0.2)


def test_losses_are_paired(made):
    samples, scores, found = made
    assert "drop" not in found["float"] and "drop" not in found["float"]["mean"]
    quantized = found["quantized"]
    pairs = [(found["float"], quantized), (found["float"]["mean"], quantized["mean"])]
    pairs += [(found["float"]["per_dataset"][name], part) for name, part in quantized["per_dataset"].items()]
    pairs += [(found["float"]["video"], quantized["video"])]
    for reference_part, part in pairs:
        assert part["drop"]["auc"] == pytest.approx(reference_part["auc"] - part["auc"])
        low, high = part["drop"]["auc_interval"]
        assert low < part["drop"]["auc"] < high
        assert high - low < 0.6 * np.diff(part["auc_interval"])[0], "paired, so narrower"
    codes = FrameTable.from_samples(samples).videos
    labels = column(samples, "label")
    expected = auc_drops(auc_estimates(labels, scores, groups=codes, seed=(0,)))["quantized"]
    assert quantized["drop"]["auc_interval"] == list(expected.interval())
    drawn = bootstrap_aucs(labels, [scores["float"]], groups=codes, seed=(0,))[0]
    assert found["float"]["auc_interval"] == list(np.quantile(drawn, [0.025, 0.975]))
    assert quantized["drop"]["video_auc"] == pytest.approx(
        found["float"]["video_auc"] - quantized["video_auc"]
    )


def test_one_data_set_of_single_images(as_samples, scored):
    labels, scores = scored(50)
    found = summaries(FrameTable.from_samples(as_samples(list(labels))), {"x": scores}, {})["x"]
    assert found["auc_interval"] == list(auc_interval(labels, scores, seed=(0,)))
    assert (
        found["video"] == {key: found[key] for key in found["video"]} and found["video_auc"] == found["auc"]
    )
    assert (
        found["per_dataset"]["test"]["auc_interval"] == found["auc_interval"] == found["mean"]["auc_interval"]
    )
    assert found["notes"] == [] and found["no_face"] is None
    json.dumps(found)


def test_by_hand(as_samples):
    labels = [0, 0, 0, 0, 1, 1, 1, 1]
    scores = [-1, 3, -2, -2, 1, 1, 2, -0.5]
    videos = ["a", "a", "b", "b", "a", "a", "b", "b"]
    datasets = ["x", "x", "x", "x", "x", "x", "y", "y"]
    found = summaries(
        FrameTable.from_samples(as_samples(labels, videos, datasets)), {"it": np.array(scores)}, {}
    )["it"]
    # the videos' means: real a 1, real b -2, fake a 1 (data set x), fake b .75: pairs 1/2 + 1 + 0 + 1 of 4
    assert found["video_auc"] == 2.5 / 4 and found["accuracy"] == 6 / 8
    assert found["per_dataset"]["x"]["auc"] == 6 / 8
    assert found["per_dataset"]["y"] == {"n": 2, "fake": 2, "real": 0, "per_manipulation": {}}
    assert found["mean"]["datasets"] == 1 and found["mean"]["auc"] == 6 / 8
    assert "no AUC of their own for y: only fake images" in found["notes"]
    assert any("50.0 % of the scores tie (6 distinct" in note for note in found["notes"])


@pytest.mark.parametrize("convention", ["default", "deepfakebench"])
def test_flips_of_data_sets_manipulations_and_videos_by_hand(as_samples, convention):
    labels = [0, 0, 1, 1, 1, 1, 1]
    videos = ["r", "r", "f", "f", "g", "h", "h"]
    datasets = ["x"] * 5 + ["y"] * 2
    kinds = ["", "", "swap", "swap", "smile", "", ""]
    samples = [
        replace(sample, path=Path(f"{sample.video}/{index}.png"))
        for index, sample in enumerate(as_samples(labels, videos, datasets, kinds))
    ]
    # at 0.5    float: 1 0 | 1 1 | 0 | 1 0  quantized: 0 0 | 1 0 | 0 | 1 1: frames 0, 3 and 6 flip
    # video means: 0.75 -0.25 | 2 1.1 | -1 | 0.7 1: of r, f, g, h: r flips; h, a data set of fakes, does not
    scores = {
        "float": np.array([1.5, 0.0, 2.0, 2.0, -1.0, 1.4, 0.0]),
        "quantized": np.array([-0.5, 0.0, 1.8, 0.4, -1.0, 1.4, 0.6]),
    }
    frames = FrameTable.from_samples(samples)
    found = summaries(frames, scores, {"float": 0.5, "quantized": 0.1}, convention=convention)
    assert not any("fidelity" in part for part in (found["float"], found["float"]["per_dataset"]["x"]))
    own = found["quantized"]

    def counted(part):
        flips = part["fidelity"]["flips"]
        assert flips["threshold"] == 0.5 and flips["share"] == flips["count"] / flips["n"]
        return flips["count"], flips["n"]

    assert counted(own) == (3, 7) and counted(own["video"]) == (1, 4)
    x, y = own["per_dataset"]["x"], own["per_dataset"]["y"]
    assert counted(x) == (2, 5) and counted(x["video"]) == (1, 3)
    assert counted(y) == (1, 2) and "auc" not in y, "flips need no second class"
    assert counted(x["per_manipulation"]["swap"]) == (2, 4)
    assert counted(x["per_manipulation"]["smile"]) == (1, 3)
    # at their own thresholds, quantized above 0.1: 0 0 | 1 1 | 0 | 1 1
    assert own["fidelity"]["verdict_agreement"] == pytest.approx(5 / 7)
    change = own["fidelity"]["largest_probability_change"]
    assert change == pytest.approx(1 / (1 + math.exp(-1.5)) - 1 / (1 + math.exp(0.5)))
    assert y["fidelity"]["largest_probability_change"] == pytest.approx(1 / (1 + math.exp(-0.6)) - 0.5)
    json.dumps(found)


def test_one_class_in_every_data_set(as_samples, scored):
    labels, scores = scored(20)
    names = ["reals" if label == 0 else "fakes" for label in labels]
    found = summaries(FrameTable.from_samples(as_samples(list(labels), None, names)), {"it": scores}, {})[
        "it"
    ]
    assert found["mean"] is None and "auc" in found
    assert len([note for note in found["notes"] if note.startswith("no AUC")]) == 2


def test_labels_that_look_reversed_are_said_and_left(as_samples, scored):
    labels, scores = scored(100, shift=2.0)
    datasets = ["good"] * 50 + ["turned"] * 50
    turned = np.where(np.arange(100) < 50, labels, 1 - labels)
    found = summaries(FrameTable.from_samples(as_samples(list(turned), None, datasets)), {"it": scores}, {})[
        "it"
    ]
    bad = found["per_dataset"]["turned"]["auc"]
    assert bad == pytest.approx(reference.roc_auc_score(turned[50:], scores[50:])) and bad < 0.2
    (note,) = found["notes"]
    assert "labels or class order look reversed" in note and f"turned ({bad:.3f})" in note
    assert "good" not in note


def test_notes_on_ties_and_faces(as_samples, scored):
    labels, scores = scored(100)
    scores[:10] = 0.25  # 10 %: not more than 10 %
    frames = FrameTable.from_samples(as_samples(list(labels)))
    assert summaries(frames, {"it": scores}, {})["it"]["notes"] == []
    scores[:11] = 0.25
    found = summaries(frames, {"it": scores}, {}, no_face=7)["it"]
    assert found["distinct_scores"] == 90 and found["tied_share"] == 0.11 and found["no_face"] == 7
    assert found["notes"] == [
        "11.0 % of the scores tie (90 distinct scores); a tie counts one half",
        "7 frames had no face and are not counted",
    ]


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([1, 1], [0.1, 0.2], "all 2 images are fake"),
        ([0, 1], [0.1, float("nan")], "1 of 2 scores are not finite"),
        ([0, None], [0.1, 0.2], "labels must be 0"),
        ([0, 1], [0.1, 0.2, 0.3], "2 labels and 3 scores"),
    ],
)
def test_bad_input(as_samples, labels, scores, message):
    for convention in ("default", "deepfakebench"):
        with pytest.raises(UserError, match=message):
            summaries(
                FrameTable.from_samples(as_samples(labels)),
                {"it": np.array(scores)},
                {},
                convention=convention,
            )
    with pytest.raises(UserError, match="'mine' is not known; choose one of default, deepfakebench"):
        summaries(
            FrameTable.from_samples(as_samples([0, 1])), {"it": np.array([0.0, 1.0])}, {}, convention="mine"
        )


def test_metrics_need_no_torch():
    """Score files are read and summarized without its memory and import time."""
    program = """
import sys
import brevitas_defakeq.evaluation.score_file
import brevitas_defakeq.evaluation.summary
import brevitas_defakeq.report.evaluation_report
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
