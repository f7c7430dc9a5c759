"""The threshold that is carried over: what must hold of it, and cases by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brevitas_defakeq.evaluation.metrics import carry_threshold
from brevitas_defakeq.evaluation.predict import Observed
from brevitas_defakeq.run_report import carried_threshold
from brevitas_defakeq.utils.errors import UserError

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


def test_a_threshold_needs_the_same_images():
    with pytest.raises(UserError, match="2 float scores and 1 quantized"):
        carry_threshold([1, 2], [1])


def observed(scores):
    return Observed(np.asarray(scores, float))


def test_the_threshold_keeps_the_rate_of_the_real_images():
    labels = torch.tensor([0, 1, 0, 1, 0, 0])
    first = observed([-3.0, 9.0, -1.0, 9.0, 1.0, 2.0])  # two of four real ones lie above 0
    second = observed([1.0, -5.0, 2.0, -5.0, 3.0, 4.0])
    threshold = carried_threshold(first, second, labels)
    assert 2.0 <= threshold < 3.0 and (second.scores[[0, 2, 4, 5]] > threshold).sum() == 2


def test_without_real_images_all_images_count():
    first, second = observed([-1.0, -2.0, 3.0]), observed([10.0, 0.0, 20.0])
    for labels in (None, torch.ones(3)):
        assert 10.0 <= carried_threshold(first, second, labels) < 20.0
