"""The search against trying every budget, on made scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from brevitas_defakeq.evaluation.frame_table import FrameTable
from brevitas_defakeq.evaluation.paired_auc import auc_drops, auc_estimates
from brevitas_defakeq.evaluation.smallest_budget import smallest_budget
from brevitas_defakeq.utils.errors import UserError

BUDGETS = [2 + 0.25 * step for step in range(25)]


@pytest.fixture(scope="module")
def made(as_samples):
    """120 images of 60 videos, float scores, and the noise that a budget adds: less, the more bits it has."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(60) % 2, 2)
    frames = FrameTable.from_samples(as_samples(labels.tolist(), [str(n // 2) for n in range(120)]))
    scores, noise = generator.normal(size=120) + 2 * labels, generator.normal(size=120)
    return frames, scores, lambda budget: scores + noise * 8.0 ** (3 - budget)


def allowed(frames, scores, other, bound):
    both = {"float": scores, "other": other}
    return auc_drops(auc_estimates(frames.labels, both, groups=frames.videos))["other"].interval()[1] <= bound


@pytest.mark.parametrize("bound", [0.0, 0.002, 0.01, 0.03, 0.1, 0.5])
def test_the_smallest_of_all_in_few_trials(made, bound):
    frames, scores, at = made
    each = [allowed(frames, scores, at(budget), bound) for budget in BUDGETS]
    assert each == sorted(each), "made so that more bits never lose more"
    tried, progress = [], []

    def counted(budget):
        tried.append(budget)
        return at(budget)

    found, trials = smallest_budget(counted, BUDGETS, scores, frames, bound, on_progress=progress.append)
    assert found == BUDGETS[each.index(True)]
    assert len(tried) <= 5 and tried == [trial.average_bits for trial in trials] and progress == trials
    for trial in trials:
        own = roc_auc_score(frames.labels, at(trial.average_bits))
        assert trial.auc == pytest.approx(own)
        assert trial.drop == pytest.approx(roc_auc_score(frames.labels, scores) - own)
        assert trial.allowed == each[BUDGETS.index(trial.average_bits)]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_what_is_found_was_tried_and_the_one_below_it_was_refused(good):
    """Whatever the budgets do: perfect scores or reversed ones, in any order."""
    labels = np.array([0, 1] * 4)
    frames = FrameTable.from_rows((int(label), "d", "", str(n), str(n)) for n, label in enumerate(labels))
    float_scores = labels.astype(float)
    budgets = list(range(len(good)))
    outcome = {}

    def scores(budget):
        outcome[budget] = good[budget]
        return float_scores if good[budget] else -float_scores

    try:
        found, _ = smallest_budget(scores, budgets, float_scores, frames, 0.01)
    except UserError:
        assert not good[-1] and len(good) - 1 in outcome and not any(outcome.values())
        return
    assert outcome[found] and (found == 0 or not outcome[found - 1])
    assert len(outcome) <= np.ceil(np.log2(len(good) + 1))
    if good == sorted(good):
        assert found == good.index(True)


def test_no_budget_will_do(made):
    frames, scores, _ = made
    with pytest.raises(UserError, match="max_auc_drop=0.01: even 8 bits lose") as caught:
        smallest_budget(lambda budget: -scores, BUDGETS, scores, frames, 0.01)
    assert "give more validation images" in str(caught.value) and "\n" not in str(caught.value)


def test_bad_bounds(made):
    for bound in (-0.1, 1.0, float("nan")):
        with pytest.raises(UserError, match="give a loss of AUC from 0 to below 1"):
            smallest_budget(made[2], BUDGETS, made[1], made[0], bound)
