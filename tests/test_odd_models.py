"""Odd but legitimate models: quantized near to the float one, loaded and exported as they are."""

import copy
import logging

import odd_models
import pytest
import torch
from small_networks import Net
from torch import nn

from brevitas_defakeq import UserError, export_onnx, load, quantize
from brevitas_defakeq.imaging.preprocessing import Preprocessing

#: Tried in every run of the tests; the others in slow ones.
ALWAYS = {"CollectsByHooks", "HoldsLayersTwice", "Autocast", "AuxiliaryHead"}
NAMES = [name if name in ALWAYS else pytest.param(name, marks=pytest.mark.slow) for name in odd_models.MODELS]
HOW = Preprocessing((odd_models.SIZE,) * 2, mean=0.0, std=1.0)


@pytest.fixture(scope="module")
def calibration(drawn):
    return drawn(32, size=odd_models.SIZE)[0]


@pytest.fixture(scope="module")
def few_steps(quick_config):
    return quick_config(average_bits=8, candidate_bits=(8,), reconstruction__iterations=2, final__steps=2)


@pytest.mark.parametrize("name", NAMES)
def test_quantized_loaded_and_exported(name, calibration, few_steps, tmp_path):
    model = odd_models.MODELS[name]()
    state, modes = copy.deepcopy(model.state_dict()), [part.training for part in model.modules()]
    result = quantize(model, calibration.clone(), few_steps, preprocessing=HOW)
    assert [part.training for part in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    model.float().eval()
    with torch.no_grad():
        wanted = result.observer.logit(model(calibration.clone())).float()
        found = result.observer.logit(result.quantized(calibration.clone())).float()
        alone = result.observer.logit(result.quantized(calibration[:1].clone())).float()
    assert (found - wanted).square().mean().sqrt() < 0.12 * wanted.std()
    torch.testing.assert_close(alone, found[:1], atol=0.01 * float(wanted.std()), rtol=0)
    result.save(tmp_path / "run")
    again = load(tmp_path / "run", detector=odd_models.MODELS[name]())
    with torch.no_grad():
        assert torch.equal(result.observer.logit(again.quantized(calibration.clone())).float(), found)
    card = export_onnx(again, tmp_path, verify=calibration)
    assert card.provenance["agreement"]["difference"] < 0.05
    codes = [key for key in card.patterns if key.split()[0] in ("integer", "unsigned", "float")]
    packed = sum(card.patterns[key] for key in codes)
    unread = {"AuxiliaryHead": 1}.get(name, 0)  # the other head is no part of the file
    assert packed >= len(result.plan.layers) - unread


@pytest.mark.parametrize("caller", [torch.no_grad, torch.inference_mode])
def test_inside_a_callers_no_grad(caller, calibration, quick_config):
    config = quick_config(average_bits=3, reconstruction__iterations=2, final__steps=2)
    wanted = quantize(odd_models.Base(), calibration, config)
    with caller():
        found = quantize(odd_models.Base(), calibration + 0, config)
        assert not torch.is_grad_enabled()
    assert found.weights_bytes("quantized") == wanted.weights_bytes("quantized")


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (
            lambda: Net(lambda self, x: self.head(x), head=nn.LazyLinear(2)),
            "head is a LazyLinear whose weights",
        ),
        (lambda: _MakesLate(), "makes late in its first forward pass, with random weights"),
        (lambda: _KeepsBatch(), "values of the batch into the buffer last"),
    ],
)
def test_refused_in_one_line(model, reason, calibration, few_steps):
    with pytest.raises(UserError, match=reason) as caught:
        quantize(model(), calibration, few_steps)
    assert "\n" not in str(caught.value)


class _MakesLate(odd_models.Base):
    def features(self, x):
        if not hasattr(self, "late"):
            self.late = nn.Linear(16, 16)
        return self.late(super().features(x))


class _KeepsBatch(odd_models.Base):
    def __init__(self):
        super().__init__()
        self.register_buffer("last", torch.zeros(1, 16))

    def forward(self, x):
        self.last = self.features(x)
        return self.head(self.last)


def test_a_score_that_depends_on_the_batch_is_said(calibration, few_steps, caplog):
    model = odd_models.Base()
    model.body[1][1] = nn.BatchNorm2d(16, track_running_stats=False)
    with caplog.at_level(logging.WARNING):
        quantize(model, calibration, few_steps)
    assert "gives an image another score beside other images" in caplog.text
