"""Reconstruction of whole blocks and of single layers."""

import pytest
import torch
from torch import nn


class Bottleneck(nn.Module):
    """Three convolutions and a shortcut."""

    def __init__(self, channels=12):
        super().__init__()
        self.down = nn.Conv2d(channels, channels, 1)
        self.middle = nn.Conv2d(channels, channels, 3, padding=1)
        self.up = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        return (x + self.up(self.middle(self.down(x).relu()).relu())).relu()


class SmallCNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, stride=2, padding=1)
        self.block = Bottleneck()
        self.head = nn.Linear(12, 1)

    def forward(self, x):
        return self.head(self.block(self.stem(x).relu()).mean((2, 3)))


def small_cnn():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SmallCNN().eval()


@torch.no_grad()
def block_error(job, model, images):
    """Squared error of ``block``, each model behind its own prefix, relative to the variance."""
    found = []
    for network in (job.reference, model):
        handle = network.block.register_forward_hook(lambda _, __, output: found.append(output))
        network(images)
        handle.remove()
    target, output = found
    return float((output - target).square().mean() / target.var())


@pytest.mark.parametrize("architecture", ["transformer", "CNN"])
def test_the_error_falls_from_nearest_over_layers_to_blocks(begun, tiny, drawn, architecture):
    """The order that AdaRound and BRECQ claim, on 200 new images; nothing is matched, one prefix for all."""
    images, labels = drawn(96, 5)
    errors = {}
    for name, settings in {
        "nearest": {"rounding": "nearest"}, "layer": {"unit": "layer"}, "block": {"unit": "block"},
    }.items():  # fmt: skip
        changes = {f"reconstruction__{key}": value for key, value in settings.items()}
        job, model = begun(
            3, tiny.model() if architecture == "transformer" else small_cnn(), images, labels,
            reconstruction__matching="none", **{"reconstruction__iterations": 150, **changes},
        )  # fmt: skip
        job.reconstruct_(model)
        errors[name] = block_error(job, model, drawn(200, 6)[0])
    assert errors["block"] < errors["layer"] < errors["nearest"], errors


def test_every_layer_is_a_unit_and_all_settings_work_on_it(begun):
    for settings in (
        {"loss": "fisher"}, {"loss": "prediction-difference", "activation_drop": 0.5}, {"rounding": "gptaq"},
        {"matching": "none", "joint": True},
    ):  # fmt: skip
        changes = {f"reconstruction__{key}": value for key, value in settings.items()}
        job, model = begun(3, reconstruction__unit="layer", **changes)
        work = job.reconstruction(model)
        assert [unit.layers for unit in work.units] == [(layer.name,) for layer in job.plan.layers]
        assert work.share(work.units) == pytest.approx(1)
        if settings.get("joint"):
            assert set(job.learn_jointly_(model)) == {layer.name for layer in job.plan.layers}
        job.reconstruct_(model)
        with torch.no_grad():
            assert model(job.images).isfinite().all()


def test_a_block_is_a_unit_by_default(begun):
    job, model = begun(3)
    assert job.reconstruction(model).units == job.plan.blocks
    assert len(job.plan.blocks) < len(job.plan.layers)
