"""Models of the kinds that people bring: quantized right, loaded and exported, and left as they were."""

import copy
from dataclasses import dataclass

import peoples_models
import pytest
import torch
from torch import Tensor, nn

from brevitas_defakeq import export_onnx, load, quantize
from brevitas_defakeq.artifact import QuantizedDetector
from brevitas_defakeq.imaging.preprocessing import Preprocessing

#: Name -> how often the plain network's error it may have. The learned prompt widens what the head reads, and
#: with it the step of its 8 bits, three times.
LIMITS = {"learned_prompt": 4}


@dataclass(frozen=True)
class Tried:
    """A float model, its run at 8 bits, and the error of its logit over the logit's spread."""

    model: nn.Module
    run: QuantizedDetector
    images: Tensor
    error: float


@pytest.fixture(scope="module")
def tried(drawn, quick_config):
    """``tried(model)``: quantized at 8 bits with few steps; model and images stay untouched."""
    config = quick_config(average_bits=8, candidate_bits=(8,), reconstruction__iterations=2, final__steps=2)
    images = (drawn(32, size=peoples_models.SIZE)[0] * 0.15 + 0.5).clamp(0, 1)

    def run(model: nn.Module) -> Tried:
        given, handed = copy.deepcopy(model.state_dict()), images.clone()
        preprocessing = Preprocessing((peoples_models.SIZE,) * 2, mean=0.0, std=1.0)
        result = quantize(model, handed, config, preprocessing=preprocessing)
        assert torch.equal(handed, images)
        assert all(torch.equal(tensor, given[name]) for name, tensor in model.state_dict().items())
        with torch.no_grad():
            wanted = result.observer.logit(model(images.clone()))
            found = result.observer.logit(result.quantized(images.clone()))
        error = float((found - wanted).square().mean().sqrt() / wanted.std())
        return Tried(model, result, images, error)

    return run


@pytest.fixture(scope="module")
def usual(tried) -> float:
    """The error of a plain network."""
    return tried(peoples_models.build("plain")[0]).error


@pytest.mark.parametrize("name", peoples_models.NAMES)
def test_works(name, tried, usual, tmp_path):
    model, _ = peoples_models.build(name)
    found = tried(model)
    assert found.error < LIMITS.get(name, 2) * usual + 0.01
    found.run.save(tmp_path / "run")
    again = load(tmp_path / "run", detector=peoples_models.build(name)[0])
    with torch.no_grad():
        wanted = found.run.quantized(found.images.clone())
        torch.testing.assert_close(again.quantized(found.images.clone()), wanted)
    card = export_onnx(again, tmp_path, verify=found.images)
    assert card.provenance["agreement"]["difference"] < 0.05
