"""AUCs of several variants and their differences: paired, and exact where they can be."""

import numpy as np
import pytest

from brevitas_defakeq.evaluation.bootstrap import auc_interval
from brevitas_defakeq.evaluation.metrics import auc
from brevitas_defakeq.evaluation.paired_auc import AucEstimate, auc_drops, auc_estimates, mean_estimates


def drop(labels, first, second):
    scores = {"float": np.asarray(first), "other": np.asarray(second)}
    return auc_drops(auc_estimates(labels, scores, groups=None))["other"]


def test_a_drop_is_paired(scored):
    labels, scores = scored(500)
    noise = np.random.default_rng(1).normal(size=500)
    assert drop(labels, scores, scores).interval() == (0.0, 0.0)
    low, high = drop(labels, scores, scores + 0.1 * noise).interval()
    assert low < 0 < high and high - low < 0.2 * np.diff(auc_interval(labels, scores))[0]
    assert drop(labels, scores, noise).interval()[0] > 0
    assert drop(labels, scores, noise).value == auc(labels, scores) - auc(labels, noise)


def test_without_float_there_are_no_drops(scored):
    labels, scores = scored(40)
    estimates = auc_estimates(labels, {"mixed": scores}, groups=None)
    assert auc_drops(estimates) == {} and estimates["mixed"].value == auc(labels, scores)
    assert estimates["mixed"].to_dict() == {
        "auc": auc(labels, scores), "auc_interval": list(auc_interval(labels, scores))
    }  # fmt: skip


def test_means_and_differences_by_hand():
    first, second = AucEstimate(0.9, np.array([0.8, 1.0])), AucEstimate(0.7, np.array([0.7, 0.6]))
    mean = mean_estimates([{"float": first}, {"float": second}])["float"]
    assert mean.value == pytest.approx(0.8) and mean.draws == pytest.approx([0.75, 0.8])
    assert (first - second).draws == pytest.approx([0.1, 0.4])
    assert list((first - second).to_dict("video_auc")) == ["video_auc", "video_auc_interval"]
