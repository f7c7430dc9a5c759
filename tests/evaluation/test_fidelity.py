"""Closeness of two detectors, worked by hand."""

import numpy as np
import pytest

from brevitas_defakeq.evaluation.fidelity import FeatureNoise, fidelity
from brevitas_defakeq.utils.errors import UserError


def noise(reference, *others):
    found = FeatureNoise()
    for other in others:
        found.add(reference, other)
    return found


def test_fidelity():
    scores, features = np.array([-2.0, -1.0, 1.0, 2.0]), np.ones((4, 3))
    same = fidelity(scores, scores * 3, noise(features, features))
    assert same == {"rank_correlation": pytest.approx(1), "verdict_agreement": 1.0, "feature_snr_db": 200.0}
    other = fidelity(scores, scores + 1.5, noise(features, features * 1.1), 0.0, 1.5)
    assert other["verdict_agreement"] == 1.0 and other["feature_snr_db"] == pytest.approx(20)
    assert fidelity(scores, scores + 1.5)["verdict_agreement"] == 0.75
    assert fidelity(scores, -scores)["rank_correlation"] == pytest.approx(-1)
    assert fidelity(scores, scores * 0, noise(features, features * 0)) == {
        "rank_correlation": 0.0,
        "verdict_agreement": 0.5,
        "feature_snr_db": 0.0,
    }
    assert fidelity(scores, scores)["feature_snr_db"] is None


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
