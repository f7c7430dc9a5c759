"""Closeness of two detectors, worked by hand."""

import numpy as np
import pytest

from brevitas_defakeq.evaluation.fidelity import FeatureNoise, count_flips, fidelity
from brevitas_defakeq.utils.errors import UserError


def noise(reference, *others):
    found = FeatureNoise()
    for other in others:
        found.add(reference, other)
    return found


def test_fidelity():
    scores, features = np.array([-2.0, -1.0, 1.0, 2.0]), np.ones((4, 3))
    same = fidelity(scores, scores * 3, noise(features, features))
    assert without_flips(same) == {
        "rank_correlation": pytest.approx(1),
        "verdict_agreement": 1.0,
        "feature_snr_db": 200.0,
    }
    other = fidelity(scores, scores + 1.5, noise(features, features * 1.1), 0.0, 1.5)
    assert other["verdict_agreement"] == 1.0 and other["feature_snr_db"] == pytest.approx(20)
    assert fidelity(scores, scores + 1.5)["verdict_agreement"] == 0.75
    assert fidelity(scores, -scores)["rank_correlation"] == pytest.approx(-1)
    assert without_flips(fidelity(scores, scores * 0, noise(features, features * 0))) == {
        "rank_correlation": 0.0,
        "verdict_agreement": 0.5,
        "feature_snr_db": 0.0,
    }
    assert fidelity(scores, scores)["feature_snr_db"] is None


def without_flips(found):
    added = {"flips", "expected_flips", "largest_probability_change"}
    assert added <= set(found)
    return {key: value for key, value in found.items() if key not in added}


def test_flips_are_counted_at_the_float_threshold_for_both():
    reference, other = np.array([-1.0, -0.2, 0.5, 0.9, 2.0]), np.array([-1.0, 0.3, -0.1, 1.1, 0.8])
    # above 0: float 0 0 1 1 1, other 0 1 0 1 1; above 0.8: float 0 0 0 1 1, other 0 0 0 1 0
    at_zero, higher = (fidelity(reference, other, None, border, 1.0)["flips"] for border in (0.0, 0.8))
    assert (at_zero["count"], at_zero["n"], at_zero["share"], at_zero["threshold"]) == (2, 5, 0.4, 0.0)
    assert (higher["count"], higher["n"], higher["share"], higher["threshold"]) == (1, 5, 0.2, 0.8)
    # other's own threshold bears on the agreement alone: above 1.0 it is 0 0 0 1 0, above -0.2 0 1 1 1 1
    assert fidelity(reference, other, None, 0.8, 1.0)["verdict_agreement"] == 0.8
    assert fidelity(reference, other, None, 0.8, -0.2)["verdict_agreement"] == 0.6
    assert fidelity(reference, other, None, 0.8, -0.2)["flips"] == higher
    shifted = fidelity(reference, reference + 0.6, None, 0.0, 0.6)
    assert shifted["verdict_agreement"] == 1.0 and shifted["flips"]["count"] == 1


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_wilsons(count, n, low, high):
    """Against the table of Newcombe, Statistics in Medicine 17 (1998), method 3; and its mirror image."""
    for flipped in (count, n - count):
        other = np.where(np.arange(n) < flipped, 1.0, -1.0)
        found = count_flips(np.full(n, -1.0), other)
        assert (found.count, found.n, found.share) == (flipped, n, flipped / n)
        wanted = (low, high) if flipped == count else (1 - high, 1 - low)
        assert found.interval == pytest.approx(wanted, abs=5e-5)


def test_the_largest_change_of_probability():
    logit = np.log([1.0, 3.0, 9.0])  # P(fake) 1/2, 3/4, 9/10
    assert fidelity(logit[:2], logit[1:])["largest_probability_change"] == pytest.approx(1 / 4)
    assert fidelity(-logit, logit)["largest_probability_change"] == pytest.approx(8 / 10)
    assert fidelity([-2000.0, 0.0], [2000.0, 0.0])["largest_probability_change"] == 1.0
    assert fidelity(logit, logit)["largest_probability_change"] == 0.0


def test_noise_adds_up_over_batches():
    reference = np.float32([[3.0, 4.0]])
    found = noise(reference, reference + 1, reference - 2)  # 25 + 25 of signal, 2 + 8 of noise
    assert (found.signal, found.noise) == (50.0, 10.0)
    assert found.snr_db() == pytest.approx(10 * np.log10(5))


def test_features_of_nothing():
    assert noise(np.zeros((2, 2)), np.zeros((2, 2))).snr_db() == 200.0
    assert noise(np.zeros((2, 2)), np.ones((2, 2))).snr_db() == -200.0


@pytest.mark.parametrize(
    ("first", "second", "which"), [([np.nan], [0.0], "float"), ([0.0], [np.inf], "other")]
)
def test_scores_that_are_no_numbers(first, second, which):
    with pytest.raises(UserError, match=f"1 of 1 {which} scores are not finite"):
        fidelity(first, second)
