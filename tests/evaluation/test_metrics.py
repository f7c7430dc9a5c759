"""Metrics against scikit-learn, against brute force, and against cases worked by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from brevitas_defakeq.evaluation.bootstrap import auc_interval
from brevitas_defakeq.evaluation.metrics import (
    Curve,
    accuracy,
    auc,
    balanced_accuracy,
    calibration_error,
    probabilities,
)
from brevitas_defakeq.utils.errors import UserError

labelled_scores = st.lists(st.tuples(st.integers(0, 1), st.integers(-3, 3)), min_size=2, max_size=40).filter(
    lambda rows: len({label for label, _ in rows}) == 2
)


@settings(deadline=None)
@given(labelled_scores)
def test_auc_counts_pairs_and_half_the_ties(rows):
    fake = [score for label, score in rows if label]
    real = [score for label, score in rows if not label]
    wins = sum((f > r) + 0.5 * (f == r) for f in fake for r in real)
    labels, scores = zip(*rows, strict=True)
    assert auc(labels, scores) == pytest.approx(wins / (len(fake) * len(real)), abs=1e-12)


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 2**32), st.integers(2, 400), st.sampled_from([1, 2, 5, 40, None]))
def test_against_scikit_learn(seed, count, grid):
    """Random scores, on a coarse grid (many ties) or not; the rates at every point that its curve has."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, count)
    labels[:2] = 0, 1
    scores = generator.normal(size=count) * 2 + labels
    scores = scores if grid is None else np.round(scores * grid) / grid
    assert auc(labels, scores) == pytest.approx(reference.roc_auc_score(labels, scores), abs=1e-12)
    expected = reference.average_precision_score(labels, scores)
    assert Curve.of(labels, scores).average_precision() == pytest.approx(expected, abs=1e-12)
    for threshold in (0.0, 0.5):
        called = scores > threshold
        assert accuracy(labels, scores, threshold) == reference.accuracy_score(labels, called)
        balanced = reference.balanced_accuracy_score(labels, called)
        assert balanced_accuracy(labels, scores, threshold) == pytest.approx(balanced, abs=1e-12)
    curve = Curve.of(labels, scores)
    false_positive, true_positive, _ = reference.roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_array_equal(curve.false_positive_rate, false_positive)
    np.testing.assert_array_equal(curve.true_positive_rate, true_positive)
    for rate in (0.0, 0.01, 0.05, 0.3, 1.0):
        assert curve.tpr_at(rate) == true_positive[false_positive <= rate].max()
    values, times = np.unique(scores, return_counts=True)
    assert curve.distinct() == len(values)
    assert curve.tied_share() == pytest.approx(times[times > 1].sum() / count, abs=1e-15)


@settings(deadline=None)
@given(labelled_scores)
def test_eer_lies_where_the_error_rates_cross(rows):
    """Brute force: walk along the polyline through the points of every threshold until the two rates meet."""
    labels, scores = (np.array(column) for column in zip(*rows, strict=True))
    points = [
        ((scores[labels == 0] > t).mean(), (scores[labels == 1] <= t).mean())
        for t in [*sorted(set(scores), reverse=True), scores.min() - 1]
    ]
    path = [
        ((1 - u) * fp0 + u * fp1, (1 - u) * fn0 + u * fn1)
        for (fp0, fn0), (fp1, fn1) in zip(points, points[1:], strict=False)
        for u in np.linspace(0, 1, 501)
    ]
    closest = min(path, key=lambda rates: abs(rates[0] - rates[1]))
    assert Curve.of(labels, scores).eer() == pytest.approx(np.mean(closest), abs=2e-3)


def test_eer_by_hand():
    assert Curve.of([0, 0, 1, 1], [1, 2, 3, 4]).eer() == 0
    assert Curve.of([0, 0, 1, 1], [3, 4, 1, 2]).eer() == 1
    assert Curve.of([0, 0, 1, 1], [1, 3, 2, 4]).eer() == 0.5
    assert Curve.of([0, 1], [7, 7]).eer() == 0.5


def test_rates_by_hand():
    # 20 reals at 1..20, fakes at 0.5, 19.5, 20.5: one false positive is 5 %
    curve = Curve.of([0] * 20 + [1] * 3, [*range(1, 21), 0.5, 19.5, 20.5])
    assert curve.tpr_at(0.01) == 1 / 3 and curve.tpr_at(0.049) == 1 / 3 and curve.tpr_at(0.05) == 2 / 3
    # one percent of 2,900 reals is 29, though 0.01 * 2900 is a little less in doubles
    curve = Curve.of([0] * 2900 + [1], [*range(2900), 2870.5])
    assert curve.tpr_at(0.01) == 1.0
    # fakes that tie with the second real come in with it
    curve = Curve.of([0, 0, 1, 1], [3, 2, 2, 2])
    assert curve.tpr_at(0.5) == 0.0 and curve.tpr_at(1.0) == 1.0
    assert curve.distinct() == 2 and curve.tied_share() == 0.75


def test_accuracy_is_strict_at_the_threshold_and_works_on_one_class():
    assert accuracy([0, 1, 1], [0.0, 0.0, 1.0]) == pytest.approx(2 / 3)
    assert accuracy([1, 1], [1.0, -1.0]) == 0.5
    # 9 of 10 fakes and no real: balanced accuracy is what chance gives
    assert balanced_accuracy([0] + [1] * 10, [1.0] + [1.0] * 9 + [-1.0]) == 0.45


def test_calibration_error_by_hand():
    # P(fake) 0.3 lies in [4/15, 5/15), 0.9 in [13/15, 14/15)
    low, high = np.log(0.3 / 0.7), np.log(0.9 / 0.1)
    assert calibration_error([1, 0, 0, 1], [low, low, low, high]) == pytest.approx(
        3 / 4 * abs(1 / 3 - 0.3) + 1 / 4 * abs(1 - 0.9)
    )
    # errors of one bin cancel: one half called at 0.5 is right
    assert calibration_error([0, 1], [0.0, 0.0]) == 0
    # both ends of the scale belong to bins
    assert calibration_error([0, 1], [1000.0, -1000.0]) == 1
    assert calibration_error([0, 1], [-1000.0, 1000.0]) == 0


def test_calibration_error_by_brute_force(scored):
    labels, logits = scored(500, ties=True)
    shares, total = 1 / (1 + np.exp(-logits)), 0.0
    for k in range(15):
        last = k == 14
        inside = (shares >= k / 15) & ((shares < (k + 1) / 15) | last)
        if inside.any():
            total += inside.mean() * abs(labels[inside].mean() - shares[inside].mean())
    assert calibration_error(labels, logits) == pytest.approx(total, abs=1e-12)


def test_probabilities_do_not_overflow():
    found = probabilities([-2000.0, -1.0, 0.0, 1.0, 2000.0])
    np.testing.assert_allclose(found, [0, 1 / (1 + np.e), 0.5, np.e / (1 + np.e), 1], atol=1e-15)


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([1, 1], [0.1, 0.2], "all 2 images are fake"),
        ([0, 0], [0.1, 0.2], "all 2 images are real"),
        ([0, 1], [0.1, float("nan")], "1 of 2 scores are not finite"),
        ([0, 1], [float("inf"), 0.2], "1 of 2 scores are not finite"),
        ([0, 2], [0.1, 0.2], "labels must be 0"),
        ([0, None], [0.1, 0.2], "labels must be 0"),
        ([0, 1, 1], [0.1, 0.2], "3 labels and 2 scores"),
        ([], [], "0 of 0 scores"),
    ],
)
@pytest.mark.parametrize("metric", [auc, auc_interval, Curve.of, balanced_accuracy])
def test_bad_input(metric, labels, scores, message):
    with pytest.raises(UserError, match=message) as caught:
        metric(labels, scores)
    assert "\n" not in str(caught.value)
