"""Probabilities are told from logits by the last operation, else by all scores; a said kind is left alone."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from brevitas_defakeq import load, quantize
from brevitas_defakeq.detectors.output import OutputSpec
from brevitas_defakeq.guess_output import settled_output


class Net(nn.Module):
    """Channel means through a fixed head, then ``last``."""

    def __init__(self, last, classes=1, scale=3.0):
        super().__init__()
        self.head, self.last = nn.Linear(3, classes), last
        with torch.no_grad():
            self.head.weight.copy_(
                scale * torch.randn(classes, 3, generator=torch.Generator().manual_seed(0))
            )
            self.head.bias.zero_()

    def forward(self, images):
        return self.last(self.head(images.mean((2, 3))))


def in_place(scores):
    return scores.sigmoid_()


def by_hand(scores):
    return 1 / (1 + (-scores).exp())


def settled(last, images, classes=1, output=None, scale=3.0):
    return settled_output(output or OutputSpec(), Net(last, classes, scale), images)


@pytest.mark.parametrize(
    ("last", "classes"),
    [
        (nn.Sigmoid(), 1), (torch.sigmoid, 1), (in_place, 1), (by_hand, 1), (lambda z: z.sigmoid()[:, 0], 1),
        (lambda z: {"score": z.sigmoid()}, 1), (nn.Softmax(1), 2), (lambda z: F.softmax(z, -1), 3),
        (lambda z: z.softmax(1)[:, 1], 2), (torch.sigmoid, 2), (lambda z: z.softmax(1).double().float(), 2),
    ],
)  # fmt: skip
def test_probabilities_are_found_and_said(last, classes, images, caplog):
    assert settled(last, images, classes).kind == "probability"
    assert "the detector is taken to return probabilities" in caplog.text


@pytest.mark.parametrize(
    ("last", "classes"),
    [
        (nn.Identity(), 1), (nn.Identity(), 2), (lambda z: z * 2, 1), (lambda z: torch.sigmoid(z) * 4 - 2, 1),
        (lambda z: z.log_softmax(1), 2), (lambda z: z.sigmoid() * 2, 2), (lambda z: {"prob": z.sigmoid()}, 1),
    ],
)  # fmt: skip
def test_others_stay(last, classes, images, caplog):
    assert settled(last, images, classes) == OutputSpec() and not caplog.text


def test_a_head_whose_logits_lie_in_the_unit_interval_gives_logits(images):
    """An untrained head: small scores around 0.5 are no probabilities when a product made them."""
    assert settled(nn.Identity(), images.abs().clamp(0.2, 1), scale=0.0).kind == "auto"


def test_a_few_scores_prove_nothing(images):
    assert settled(by_hand, images[:7]).kind == "auto"
    assert settled(by_hand, images[:8]).kind == "probability"


@pytest.mark.parametrize("kind", ["logit", "probability"])
def test_what_the_user_says_counts(kind, images, caplog):
    assert settled(torch.sigmoid, images, output=OutputSpec(kind)).kind == kind and not caplog.text


def test_the_class_that_is_taken_for_fake_is_said(images, caplog):
    settled(nn.Identity(), images, classes=3)
    assert "of 3 classes class 1 is taken for fake, all others for real" in caplog.text
    caplog.clear()
    settled(nn.Identity(), images, classes=3, output=OutputSpec(real_index=0))
    assert not caplog.text


def test_a_forward_pass_that_draws_is_said(images, caplog):
    settled(lambda z: z + torch.randn_like(z), images, classes=2)
    assert "another score each time, so no seed repeats this run" in caplog.text


def test_the_images_stay_as_they_are(images):
    before = images.clone()
    settled_output(OutputSpec(), nn.Sequential(nn.ReLU(inplace=True), Net(by_hand)), images)
    assert torch.equal(images, before)


class SigmoidInside(nn.Module):
    """Looks at the first score of the tiny detector."""

    def __init__(self, detector):
        super().__init__()
        self.detector = detector

    def forward(self, images):
        return torch.sigmoid(self.detector(images))


def test_the_decision_is_kept_with_the_run(tiny, images, quick_config, tmp_path):
    """The verdicts of a network that ends in a sigmoid are those of the network that does not."""
    model = tiny.model()
    config = quick_config(reconstruction__iterations=0, final__steps=0, activation_bits=None)
    result = quantize(SigmoidInside(model), images, config, out=tmp_path)
    assert result.observer.output == OutputSpec("probability")
    again = load(tmp_path, SigmoidInside(model))
    assert again.observer == result.observer
    bare = quantize(model, images, config)
    with torch.no_grad():
        ours, theirs = again.observer(again.quantized, images)[0], bare.observer(bare.quantized, images)[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
