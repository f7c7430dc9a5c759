import numpy as np
import pytest
import torch

from brevitas_defakeq.detectors.output import OutputSpec
from brevitas_defakeq.runtime import CardOutput, UserError
from brevitas_defakeq.runtime.scores import fake_logit


def spec(kind, fake_index=1, real_index=None):
    return CardOutput(kind=kind, fake_index=fake_index, real_index=real_index)


def test_worked_by_hand():
    assert fake_logit(np.float32([1.5, -2]), 2, spec("logit")).tolist() == [1.5, -2]
    assert fake_logit(np.float32([[1.5]]), 1, spec("logit", 0)).tolist() == [-1.5]
    assert fake_logit(np.float32([[1, 3], [2, 0]]), 2, spec("softmax")).tolist() == [2, -2]
    three = fake_logit(np.float32([[1, 2, 4]]), 1, spec("softmax", 2))
    np.testing.assert_allclose(three, 4 - np.log(np.e + np.e**2))
    np.testing.assert_allclose(fake_logit(np.float64([0.75]), 1, spec("probability")), np.log(3))
    np.testing.assert_allclose(fake_logit(np.float64([[0.75, 0.25]]), 1, spec("probability", 0)), np.log(3))


@pytest.mark.parametrize("fake_index", [0, 1])
@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("logit", (5,)),
        ("logit", (5, 1)),
        ("logit", (5, 1, 1, 1)),
        ("softmax", (5, 2)),
        ("softmax", (5, 3)),
        ("softmax", (5, 2, 1, 1)),
        ("probability", (5,)),
        ("probability", (5, 2)),
    ],
)
def test_same_as_in_training(kind, shape, fake_index):
    raw = np.random.default_rng(0).normal(size=shape).astype(np.float32) * 3
    if kind == "probability":
        raw = np.clip(np.abs(raw) / 3, 0, 1)  # some of them at the edge
    theirs = OutputSpec(kind, fake_index).fake_logit(torch.from_numpy(raw))
    np.testing.assert_allclose(fake_logit(raw, 5, spec(kind, fake_index)), theirs, rtol=1e-5, atol=1e-5)
    theirs = OutputSpec(kind, real_index=fake_index).fake_logit(torch.from_numpy(raw))
    ours = fake_logit(raw, 5, spec(kind, real_index=fake_index))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("raw", "kind", "fake_index"),
    [
        (np.zeros((2, 2), np.float32), "logit", 1),
        (np.zeros((2, 1), np.float32), "softmax", 1),
        (np.zeros((2, 2), np.float32), "softmax", 2),
        (np.zeros((2, 1), np.float32), "logit", 2),
        (np.zeros((4, 1), np.float32), "logit", 1),
        (np.zeros((3,), np.float32), "logit", 1),
        (np.zeros((2, 7, 7), np.float32), "softmax", 1),
        (np.zeros((2, 0), np.float32), "logit", 1),
        (np.zeros((2, 1), np.int64), "logit", 1),
    ],
)
def test_output_that_is_no_verdict(raw, kind, fake_index):
    with pytest.raises(UserError, match="no output of kind"):
        fake_logit(raw, 2, spec(kind, fake_index))
