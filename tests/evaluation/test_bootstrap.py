"""Intervals against a bootstrap written out, and against what must hold of them."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from brevitas_defakeq.evaluation import bootstrap
from brevitas_defakeq.evaluation.bootstrap import auc_interval, bootstrap_aucs
from brevitas_defakeq.evaluation.metrics import auc


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32), st.integers(4, 60), st.integers(1, 12), st.sampled_from([4, 100, 10**6]))
def test_every_draw_is_the_auc_of_the_drawn_videos(seed, count, videos, cells):
    """The same videos, drawn from the same generator and their frames written out, give the same AUCs."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, count)
    labels[:2] = 0, 1
    scores = [np.round(generator.normal(size=count) * 2 + labels) for _ in range(2)]
    groups = generator.integers(0, videos, count)
    whole, bootstrap._CELLS = bootstrap._CELLS, cells
    try:
        found = bootstrap_aucs(labels, scores, groups=groups, samples=7, seed=seed)
    finally:
        bootstrap._CELLS = whole
    drawing = np.random.default_rng(seed)
    rows, expected = max(1, cells // count), [[], []]
    for start in range(0, 7, rows):
        size = min(rows, 7 - start)
        drawn = {}
        for label in (1, 0):
            names = np.unique(groups[labels == label])
            drawn[label] = names[drawing.integers(len(names), size=(size, len(names)))]
        for row in range(size):
            chosen = np.concatenate(
                [
                    np.flatnonzero((groups == v) & (labels == label))
                    for label in (0, 1)
                    for v in drawn[label][row]
                ]
            )
            for variant in range(2):
                expected[variant].append(reference.roc_auc_score(labels[chosen], scores[variant][chosen]))
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_interval_agrees_with_a_plain_bootstrap(scored):
    labels, scores = scored(200, ties=True)
    generator = np.random.default_rng(5)
    fake, real = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    drawn = []
    for _ in range(400):
        chosen = np.r_[generator.choice(fake, len(fake)), generator.choice(real, len(real))]
        drawn.append(reference.roc_auc_score(labels[chosen], scores[chosen]))
    assert auc_interval(labels, scores, samples=4000) == pytest.approx(
        np.quantile(drawn, [0.025, 0.975]), abs=0.012
    )


def test_interval_over_groups_is_wider_where_groups_agree(scored):
    """Ten copies of an image say no more than one: their interval by group is that of single images."""
    labels, scores = scored(60)
    copies = {"labels": np.repeat(labels, 10), "scores": np.repeat(scores, 10)}
    single = np.diff(auc_interval(labels, scores, samples=4000))[0]
    grouped = np.diff(auc_interval(**copies, groups=np.repeat(np.arange(60), 10), samples=4000))[0]
    alone = np.diff(auc_interval(**copies, samples=1000))[0]
    assert grouped == pytest.approx(single, rel=0.08) and alone < 0.5 * single


def test_intervals_repeat_and_are_quick(scored, pace):
    labels, scores = scored(1500)
    started = time.process_time()
    first = auc_interval(labels, scores)
    assert time.process_time() - started < 10 * pace, "about one is expected"
    assert first == auc_interval(labels, scores) != auc_interval(labels, scores, seed=1)
    assert first[0] < auc(labels, scores) < first[1]


def test_an_interval_of_a_perfect_detector():
    assert auc_interval([0, 1] * 10, [0, 1] * 10) == (1.0, 1.0)


def test_separate_calls_are_paired(scored):
    labels, scores = scored(80)
    groups, other = np.arange(80) // 4, np.random.default_rng(2).normal(size=80)
    together = bootstrap_aucs(labels, [scores, other], groups=groups, samples=50, seed=(3, 1))
    apart = [
        bootstrap_aucs(labels, [each], groups=groups, samples=50, seed=(3, 1))[0] for each in (scores, other)
    ]
    np.testing.assert_array_equal(together, apart)
