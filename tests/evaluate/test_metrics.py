"""Metrics against scikit-learn, against brute force, and against cases worked by hand."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from brevitas_defakeq.errors import UserError
from brevitas_defakeq.evaluate.metrics import (
    accuracy,
    auc,
    auc_interval,
    average_precision,
    carry_threshold,
    eer,
    fidelity,
    paired_interval,
    summary,
)


def scored(n=400, shift=1.0, seed=0, ties=False):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, n)
    scores = generator.normal(size=n) + shift * labels
    return labels, np.round(scores * 2) if ties else scores


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


@pytest.mark.parametrize("ties", [False, True])
def test_against_scikit_learn(ties):
    labels, scores = scored(ties=ties)
    assert auc(labels, scores) == pytest.approx(reference.roc_auc_score(labels, scores), abs=1e-12)
    assert average_precision(labels, scores) == reference.average_precision_score(labels, scores)
    assert accuracy(labels, scores, 0.5) == reference.accuracy_score(labels, scores > 0.5)


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
    assert eer(labels, scores) == pytest.approx(np.mean(closest), abs=2e-3)


def test_eer_by_hand():
    assert eer([0, 0, 1, 1], [1, 2, 3, 4]) == 0
    assert eer([0, 0, 1, 1], [3, 4, 1, 2]) == 1
    assert eer([0, 0, 1, 1], [1, 3, 2, 4]) == 0.5
    assert eer([0, 1], [7, 7]) == 0.5


def test_accuracy_is_strict_at_the_threshold_and_works_on_one_class():
    assert accuracy([0, 1, 1], [0.0, 0.0, 1.0]) == pytest.approx(2 / 3)
    assert accuracy([1, 1], [1.0, -1.0]) == 0.5


def test_interval_agrees_with_a_plain_bootstrap():
    labels, scores = scored(200, ties=True)
    generator = np.random.default_rng(5)
    fake, real = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    drawn = []
    for _ in range(1500):
        chosen = np.r_[generator.choice(fake, len(fake)), generator.choice(real, len(real))]
        drawn.append(reference.roc_auc_score(labels[chosen], scores[chosen]))
    assert auc_interval(labels, scores, samples=4000) == pytest.approx(
        np.quantile(drawn, [0.025, 0.975]), abs=0.006
    )


def test_interval_over_groups_is_wider_where_groups_agree():
    """Ten copies of an image say no more than one: their interval by group is that of single images."""
    labels, scores = scored(60)
    copies = {"labels": np.repeat(labels, 10), "scores": np.repeat(scores, 10)}
    single = np.diff(auc_interval(labels, scores, samples=4000))[0]
    grouped = np.diff(auc_interval(**copies, groups=np.repeat(np.arange(60), 10), samples=4000))[0]
    alone = np.diff(auc_interval(**copies, samples=1000))[0]
    assert grouped == pytest.approx(single, rel=0.08) and alone < 0.5 * single


def test_intervals_repeat_and_are_quick():
    labels, scores = scored(1500)
    started = time.perf_counter()
    first = auc_interval(labels, scores)
    assert time.perf_counter() - started < 2
    assert first == auc_interval(labels, scores) != auc_interval(labels, scores, seed=1)
    assert first[0] < auc(labels, scores) < first[1]


def test_an_interval_of_a_perfect_detector():
    assert auc_interval([0, 1] * 10, [0, 1] * 10) == (1.0, 1.0)


def test_paired_interval():
    labels, scores = scored(500)
    noise = np.random.default_rng(1).normal(size=500)
    assert paired_interval(labels, scores, scores) == (0.0, 0.0)
    low, high = paired_interval(labels, scores, scores + 0.1 * noise)
    assert low < 0 < high and high - low < 0.2 * np.diff(auc_interval(labels, scores))[0]
    assert paired_interval(labels, scores, noise)[0] > 0


def test_summary():
    labels = [0, 0, 0, 0, 1, 1, 1, 1]
    scores = [-1, 3, -2, -2, 1, 1, 2, -0.5]
    videos = ["a", "a", "b", "b", "a", "a", "b", "b"]
    datasets = ["x", "x", "x", "x", "x", "x", "y", "y"]
    found = summary(labels, scores, groups=videos, datasets=datasets)
    assert found["auc"] == reference.roc_auc_score(labels, scores) and found["n"] == 8
    # the videos' means: real a 1, real b -2, fake a 1 (data set x), fake b .75: pairs 1/2 + 1 + 0 + 1 of 4
    assert found["video_auc"] == 2.5 / 4
    assert found["per_dataset"] == {"x": {"n": 6, "auc": 6 / 8}, "y": {"n": 2}}
    assert found["accuracy"] == 6 / 8 and len(found["auc_interval"]) == 2
    assert found["eer"] == eer(labels, scores) and found["ap"] == average_precision(labels, scores)
    bare = summary(labels, scores, threshold=10.0)
    assert bare["video_auc"] is None and bare["per_dataset"] == {} and bare["accuracy"] == 0.5


def test_fidelity():
    scores, features = np.array([-2.0, -1.0, 1.0, 2.0]), np.ones((4, 3))
    same = fidelity(scores, scores * 3, features, features)
    assert same == {"rank_correlation": pytest.approx(1), "verdict_agreement": 1.0, "feature_snr_db": 200.0}
    other = fidelity(scores, scores + 1.5, features, features * 1.1, 0.0, 1.5)
    assert other["verdict_agreement"] == 1.0 and other["feature_snr_db"] == pytest.approx(20)
    assert fidelity(scores, scores + 1.5, features, features)["verdict_agreement"] == 0.75
    assert fidelity(scores, -scores, features, -features)["rank_correlation"] == pytest.approx(-1)
    assert fidelity(scores, scores * 0, features, features * 0) == {
        "rank_correlation": 0.0,
        "verdict_agreement": 0.5,
        "feature_snr_db": 0.0,
    }


distinct = st.lists(st.integers(-1000, 1000), min_size=1, max_size=30, unique=True)


@settings(deadline=None)
@given(distinct, st.integers(-1100, 1100), st.integers(1, 50), st.integers(-20, 20))
def test_the_carried_threshold_keeps_the_rate(scores, threshold, slope, offset):
    scores = np.array(scores, dtype=float)
    quantized = slope / 7 * scores + offset
    carried = carry_threshold(scores, quantized, threshold)
    assert (quantized > carried).sum() == (scores > threshold).sum()
    assert carry_threshold(scores, scores, threshold) == threshold


@settings(deadline=None)
@given(distinct, st.integers(0, 10), st.floats(-1000, 1000))
def test_the_rate_stays_even_if_the_order_does_not(scores, seed, threshold):
    scores = np.array(scores, dtype=float)
    quantized = np.random.default_rng(seed).normal(size=len(scores))
    assert (quantized > carry_threshold(scores, quantized, threshold)).sum() == (scores > threshold).sum()


def test_carrying_by_hand():
    assert carry_threshold([-2, -1, 1, 3], [-9, -8, 4, 5], 0.0) == 0.0  # two above, as before
    assert carry_threshold([-2, -1, 1, 3], [10, 20, 30, 50], 0.0) == 20.0  # nearest that leaves two above
    assert carry_threshold([-2, -1, 1, 3], [-50, -30, -10, -5], 0.0) == pytest.approx(-10.0)
    assert carry_threshold([-3, -1], [-6, 4], 1.0) == 4.0  # none above


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([1, 1], [0.1, 0.2], "all 2 images are fake"),
        ([0, 0], [0.1, 0.2], "all 2 images are real"),
        ([0, 1], [0.1, float("nan")], "1 of 2 scores are not finite"),
        ([0, 2], [0.1, 0.2], "labels must be 0"),
        ([0, None], [0.1, 0.2], "labels must be 0"),
        ([0, 1, 1], [0.1, 0.2], "3 labels and 2 scores"),
        ([], [], "0 of 0 scores"),
    ],
)
@pytest.mark.parametrize("metric", [auc, auc_interval, eer, average_precision, summary])
def test_bad_input(metric, labels, scores, message):
    with pytest.raises(UserError, match=message) as caught:
        metric(labels, scores)
    assert "\n" not in str(caught.value)


def test_a_threshold_needs_the_same_images():
    with pytest.raises(UserError, match="2 float scores and 1 quantized"):
        carry_threshold([1, 2], [1])
