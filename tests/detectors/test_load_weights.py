"""Loading weights: prefixes are removed, and what does not fit is named."""

import pytest
import timm
import torch
from torch import nn

from brevitas_defakeq.detectors.checkpoint import read_checkpoint, read_checkpoints
from brevitas_defakeq.detectors.load_weights import fit_state, load_state
from brevitas_defakeq.utils.errors import UserError


def load(model, path):
    load_state(model, read_checkpoint(path), source=str(path))


def detector():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 1))


def prefixed(state, prefix):
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


@pytest.fixture
def state():
    torch.manual_seed(0)
    return detector().state_dict()


@pytest.mark.parametrize("prefix", ["", "backbone.", "model.", "net.", "model.backbone."])
def test_prefixes_that_lead_to_a_fit_are_removed(state, prefix):
    mapped, report = fit_state(detector(), prefixed(state, prefix))
    assert report.fits and list(mapped) == list(state)


def test_prefixes_of_the_model_itself_stay():
    model = nn.ModuleDict({"backbone": nn.Linear(2, 2), "model": nn.Linear(2, 1)})
    mapped, report = fit_state(model, model.state_dict())
    assert report.fits and list(mapped) == list(model.state_dict())


def test_counters_do_not_matter(state):
    bare = {name: tensor for name, tensor in state.items() if "num_batches" not in name}
    assert fit_state(detector(), bare)[1].fits
    averaged = {"weight": torch.zeros(1, 4), "bias": torch.zeros(1), "n_averaged": torch.tensor(1)}
    assert fit_state(nn.Linear(4, 1), averaged)[1].fits


def test_loading(tmp_path, state):
    torch.save({"model": prefixed(state, "module.backbone.")}, tmp_path / "a.pth")
    model = detector()
    load(model, tmp_path / "a.pth")
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_what_does_not_fit_is_counted_and_named(tmp_path, state):
    wrong = dict(state)
    del wrong["0.weight"], wrong["0.bias"]
    wrong["3.weight"] = torch.zeros(2, 4)
    wrong |= {f"extra.{index}": torch.zeros(1) for index in range(13)}
    torch.save(wrong, tmp_path / "a.pth")
    model = detector()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(UserError) as caught:
        load(model, tmp_path / "a.pth")
    message = str(caught.value)
    assert "\n" not in message and "2 missing: 0.weight, 0.bias" in message
    assert (
        "13 unexpected: extra.0" in message and "extra.9 and 3 more" in message and "extra.10" not in message
    )
    assert "1 of another shape: 3.weight (model [1, 4], file [2, 4])" in message
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_weights_of_another_detector(tmp_path):
    torch.save({"a.weight": torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(UserError, match="weights of another detector"):
        load(detector(), tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("classes", "advice"),
    [
        (1, "its head has 1 classes: add --model-arg num_classes=1"),
        (3, "add --model-arg num_classes=3, and --fake-index or --real-index"),
        (1000, "as many as ImageNet has: if it is the backbone alone, give the trained detector's file"),
    ],
)
def test_the_number_of_classes_is_suggested(tmp_path, classes, advice):
    """A ResNet with another head is no "whole ResNet" that is not known."""
    torch.save(resnet(classes).state_dict(), tmp_path / "a.pth")
    with pytest.raises(UserError) as caught:
        load(resnet(2), tmp_path / "a.pth")
    assert advice in str(caught.value) and "looks like" not in str(caught.value)


def resnet(classes):
    return timm.create_model("resnet10t", num_classes=classes)


def test_names_that_only_training_needs_can_be_left_out(tmp_path, state):
    extra = {"criterion.weight": torch.ones(2), "total_ops": torch.ones(1), "3.total_ops": torch.ones(1)}
    torch.save({"model": {**state, **extra}}, tmp_path / "a.pth")
    with pytest.raises(UserError) as caught:
        load(detector(), tmp_path / "a.pth")
    options = "--ignore-keys 'criterion.*' --ignore-keys total_ops --ignore-keys '*.total_ops'"
    assert str(caught.value).endswith(f"if the detector does not need them, add {options}")
    ignored = {"criterion.*": 0, "*total_ops": 0}
    load_state(detector(), read_checkpoints([tmp_path / "a.pth"], ignored), source="a.pth")
    assert ignored == {"criterion.*": 1, "*total_ops": 2}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(tmp_path, state, value):
    state["3.weight"][0, 1] = value
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(UserError, match="3.weight holds values that are not finite"):
        load(detector(), tmp_path / "a.pth")
