"""One fake logit an image, from every shape and container that detectors return."""

import collections
import types

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brevitas_defakeq.detectors.output import OutputSpec
from brevitas_defakeq.utils.errors import UserError

ONE = torch.tensor([[1.5], [-2.0]])
TWO = torch.tensor([[1.0, 3.0], [0.5, -0.5]])


def test_one_logit():
    for raw in (ONE, ONE[:, 0], ONE[:, :, None, None]):
        assert OutputSpec().fake_logit(raw).tolist() == [1.5, -2.0]
    assert OutputSpec(fake_index=0).fake_logit(ONE).tolist() == [-1.5, 2.0]


def test_two_logits():
    assert OutputSpec().fake_logit(TWO).tolist() == [2.0, -1.0]
    assert OutputSpec("softmax", fake_index=0).fake_logit(TWO).tolist() == [-2.0, 1.0]


@settings(deadline=None)
@given(st.integers(2, 6), st.data())
def test_classes_are_the_log_odds_of_their_softmax(classes, data):
    fake = data.draw(st.integers(0, classes - 1))
    raw = torch.tensor(data.draw(st.lists(st.floats(-5, 5), min_size=classes, max_size=classes)))[
        None
    ].double()
    expected = raw.softmax(1)[:, fake].logit()
    torch.testing.assert_close(OutputSpec(fake_index=fake).fake_logit(raw), expected)
    torch.testing.assert_close(OutputSpec(real_index=fake).fake_logit(raw), -expected)
    probabilities = OutputSpec("probability", real_index=fake).fake_logit(raw.softmax(1))
    torch.testing.assert_close(probabilities, -expected)


def test_the_real_class_of_one_or_two_scores():
    for real in (0, 1):
        for raw in (ONE, TWO):
            expected = OutputSpec(fake_index=1 - real).fake_logit(raw)
            assert torch.equal(OutputSpec(real_index=real).fake_logit(raw), expected)
        probable = OutputSpec("probability", fake_index=1 - real).fake_logit(ONE.sigmoid())
        assert torch.equal(OutputSpec("probability", real_index=real).fake_logit(ONE.sigmoid()), probable)


def test_probabilities():
    single = OutputSpec("probability").fake_logit(torch.tensor([0.5, 0.75]))
    torch.testing.assert_close(single, torch.tensor([1.0, 3.0]).log())
    both = torch.tensor([[0.2, 0.8]])
    torch.testing.assert_close(OutputSpec("probability").fake_logit(both), torch.tensor([4.0]).log())
    torch.testing.assert_close(OutputSpec("probability", 0).fake_logit(both), -torch.tensor([4.0]).log())
    torch.testing.assert_close(
        OutputSpec("probability", 0).fake_logit(both[:, 1]), -torch.tensor([4.0]).log()
    )
    assert torch.isfinite(OutputSpec("probability").fake_logit(torch.tensor([0.0, 1.0]))).all()


def test_containers():
    features, prob = torch.zeros(2, 64), torch.tensor([0.25, 0.75])
    named = collections.namedtuple("Named", "features logits")
    raws = (
        {"cls": TWO, "prob": prob, "feat": features},
        collections.OrderedDict(hidden=features, logits=TWO),
        named(features, TWO),
        types.SimpleNamespace(hidden=features, logits=TWO),
        (features, TWO),
        [TWO, features],
        {"verdict": TWO},
    )
    for raw in raws:
        assert OutputSpec().fake_logit(raw).tolist() == [2.0, -1.0]
    assert OutputSpec().fake_logit({"prob": prob, "feat": features}).sign().tolist() == [-1.0, 1.0]


def test_key():
    raw = {"aux": {"x": 1}, "main": TWO, "cls": -TWO}
    assert OutputSpec(key="main").fake_logit(raw).tolist() == [2.0, -1.0]
    assert OutputSpec(key=-1).fake_logit((ONE, TWO)).tolist() == [2.0, -1.0]
    assert OutputSpec(key="logits").fake_logit(types.SimpleNamespace(logits=TWO)).tolist() == [2.0, -1.0]
    with pytest.raises(UserError, match=r"no part 'other'.*main: \[2, 2\]"):
        OutputSpec(key="other").fake_logit(raw)
    with pytest.raises(UserError, match="is a dict, not a tensor"):
        OutputSpec(key="aux").fake_logit(raw)


def test_gradients_pass():
    for spec, raw in (
        (OutputSpec(), TWO),
        (OutputSpec("logit"), ONE),
        (OutputSpec("probability"), ONE.sigmoid()),
    ):
        raw = raw.clone().requires_grad_()
        spec.fake_logit(raw).sum().backward()
        assert raw.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("spec", "raw", "message"),
    [
        (OutputSpec(), torch.zeros(2, 3, 4, 4), r"\(2, 3, 4, 4\)"),
        (OutputSpec(), torch.tensor(1.0), r"shape \(\)"),
        (OutputSpec(), torch.zeros(2, 1, dtype=torch.int64), "int64"),
        (OutputSpec(), torch.zeros(2, 0), r"\(2, 0\)"),
        (OutputSpec("logit"), TWO, "use output=softmax"),
        (OutputSpec("softmax"), ONE, "use output=logit"),
        (OutputSpec(fake_index=2), TWO, "fake_index=2"),
        (OutputSpec(real_index=2), TWO, "real_index=2 is beyond"),
        (OutputSpec(), {"a": torch.zeros(2, 64), "b": torch.zeros(2, 64)}, r"not found.*a: \[2, 64\]"),
        (OutputSpec(), None, "NoneType"),
        (OutputSpec(), (), "tuple"),
    ],
)
def test_what_is_no_verdict(spec, raw, message):
    with pytest.raises(UserError, match=message) as caught:
        spec.fake_logit(raw)
    assert "\n" not in str(caught.value)


def test_wrong_specs():
    with pytest.raises(UserError, match="choose one of auto, logit, softmax, probability"):
        OutputSpec("sigmoid")
    with pytest.raises(UserError, match="fake_index=-1"):
        OutputSpec(fake_index=-1)
    with pytest.raises(UserError, match="real_index='live'"):
        OutputSpec(real_index="live")
    assert OutputSpec(**OutputSpec("softmax", 0, "cls").to_dict()) == OutputSpec("softmax", 0, "cls")
    assert "real_index" not in OutputSpec().to_dict()  # runs of earlier versions have none
    assert OutputSpec(**OutputSpec(real_index=0).to_dict()) == OutputSpec(real_index=0)
