"""Variants of a detector side by side, against metrics worked by hand and by scikit-learn."""

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from brevitas_defakeq.evaluation.fidelity import FeatureNoise
from brevitas_defakeq.evaluation.frame_table import FrameTable
from brevitas_defakeq.evaluation.predict import Observed
from brevitas_defakeq.evaluation.summary import summarize

SCORES = {
    "float": Observed(np.array([-2.0, -1.0, 0.5, 3.0]), FeatureNoise(9.0, 0.0)),
    "quantized": Observed(np.array([-1.0, 0.2, 0.1, 2.0]), FeatureNoise(9.0, 0.09)),
}


def test_fidelity_by_hand():
    metrics = summarize(SCORES, {"quantized": 0.15}, None)
    assert set(metrics) == {"float", "quantized"} and set(metrics["quantized"]) == {"fidelity"}
    fidelity = metrics["quantized"]["fidelity"]
    # verdicts: float 0 0 1 1 at 0; quantized 0 1 0 1 at 0.15
    assert fidelity["verdict_agreement"] == 0.5
    # ranks 0 1 2 3 against 0 2 1 3: 1 - 6 * 2 / (4 * 15)
    assert fidelity["rank_correlation"] == pytest.approx(0.8)
    assert fidelity["feature_snr_db"] == pytest.approx(10 * math.log10(9 / 0.09))
    assert metrics["float"]["fidelity"]["verdict_agreement"] == 1.0
    assert metrics["float"]["fidelity"]["rank_correlation"] == pytest.approx(1.0)
    # at 0, the float threshold, quantized 0 1 1 1: one flip
    assert (fidelity["flips"]["count"], fidelity["flips"]["threshold"]) == (1, 0.0)
    assert metrics["float"]["fidelity"]["flips"]["count"] == 0
    # float at 0.6: 0 0 0 1; quantized at 0.6: 0 0 0 1
    moved = summarize(SCORES, {"float": 0.6}, None)["quantized"]["fidelity"]["flips"]
    assert (moved["count"], moved["n"], moved["threshold"]) == (0, 4, 0.6)


def test_a_missing_threshold_is_zero():
    assert summarize(SCORES, {}, None)["quantized"]["fidelity"]["verdict_agreement"] == 0.75


def test_labels_add_auc_and_accuracy(as_samples):
    metrics = summarize(SCORES, {"quantized": 0.15}, FrameTable.from_samples(as_samples([0, 0, 1, 1])))
    assert metrics["float"]["auc"] == 1.0 and metrics["float"]["accuracy"] == 1.0
    # fakes at 0.1 and 2.0, reals at -1.0 and 0.2: three of four pairs in order
    assert metrics["quantized"]["auc"] == 0.75 and metrics["quantized"]["accuracy"] == 0.5
    assert metrics["quantized"]["n"] == 4 and "fidelity" in metrics["quantized"]
    assert metrics["quantized"]["drop"]["auc"] == 0.25


def test_without_float_there_is_nothing_to_be_close_to(as_samples):
    only = {"quantized": SCORES["quantized"]}
    metrics = summarize(only, {}, FrameTable.from_samples(as_samples([0, 0, 1, 1])), no_face=2)
    assert not {"fidelity", "drop"} & set(metrics["quantized"]) and metrics["quantized"]["no_face"] == 2


def test_videos_of_one_name_in_two_data_sets_are_two(as_samples):
    labels, videos = [0, 0, 1, 1, 0, 1], ["a", "a", "b", "b", "a", "b"]
    datasets = ["one"] * 4 + ["two"] * 2
    scores = np.array([0.0, 4.0, 1.0, 2.5, 3.0, 1.7])
    found = summarize(
        {"it": Observed(scores)}, {}, FrameTable.from_samples(as_samples(labels, videos, datasets))
    )["it"]
    # means: one/a 2.0, one/b 1.75, two/a 3.0, two/b 1.7; no fake video above a real one
    assert found["video_auc"] == 0.0
    assert found["auc"] == pytest.approx(roc_auc_score(labels, scores))
    assert found["per_dataset"]["two"]["auc"] == 0.0 and found["per_dataset"]["one"]["n"] == 4
