"""The figures of a row, by hand."""

import numpy as np
import pytest

from benchmarks.measures import measures


def test_metrics_by_hand():
    """Float logits rank perfectly; two of four verdicts change, and one of the four pairs is reversed."""
    reference, scores = np.array([-2.0, -1.0, 1.0, 2.0]), np.array([-2.0, 1.0, -1.0, 2.0])
    labels, names = np.array([0, 0, 1, 1]), np.array(["a", "b", "b", "a"])
    found = measures(scores, reference, labels, {name: names == name for name in "ab"})
    assert found["auc"] == found["auc_kept"] == 0.75
    assert found["relative_error"] == pytest.approx(2 / 2.5)
    assert found["fidelity"]["flips"]["count"] == 2
    assert found["parts"]["a"]["auc"] == 1.0 and found["parts"]["a"]["fidelity"]["flips"]["count"] == 0
    assert found["parts"]["b"]["auc_kept"] == 0.0 and found["parts"]["b"]["fidelity"]["flips"]["share"] == 1.0
