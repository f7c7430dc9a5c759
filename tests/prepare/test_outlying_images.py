"""Calibration images with activations of another magnitude are found, named and left out."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from brevitas_defakeq import DefakeQConfig, quantize
from brevitas_defakeq.prepare.outlying_images import outlying_images


class Rare(nn.Module):
    """A tiny detector whose second convolution sees values a thousand times larger on very bright images."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.fc = nn.Linear(8, 1)

    def forward(self, images):
        middle = self.first(images).relu()
        middle = middle * torch.where(images.mean(dim=(1, 2, 3), keepdim=True) > 3, 1000.0, 1.0)
        return self.fc(self.second(middle).relu().mean(dim=(2, 3)))


@pytest.fixture
def detector():
    return Rare().eval()


@pytest.fixture
def images():
    return torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def layers(model):
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}


def test_the_image_and_its_layer_are_named(detector, images):
    images[17] += 4
    found = outlying_images(detector, layers(detector), images)
    assert list(found) == [17] and found[17].startswith("the input of second is ")


def test_ordinary_images_are_all_kept(detector, images):
    images[17] *= 5  # within ten times of the others
    assert outlying_images(detector, layers(detector), images) == {}


def test_many_large_images_are_the_networks_nature(detector, images):
    images[::8] += 4
    assert outlying_images(detector, layers(detector), images) == {}


def test_windows_are_counted_by_image(images):
    class Windows(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, images):
            count, _, height, width = images.shape
            tiles = images.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, 8, 8)
            return self.first(tiles).reshape(count, -1).mean(dim=1, keepdim=True)

    images[17, :, :8, :8] *= 100
    model = Windows().eval()
    assert list(outlying_images(model, layers(model), images)) == [17]


def test_one_such_image_does_not_cost_the_others_their_range(detector, images, quick_config):
    """Without it in the calibration set the result is that of a set without it; the report names it."""
    config = quick_config(average_bits=8.0, samples=64)
    clean = quantize(detector, images, config)
    images[17] += 4
    others = [index for index in range(64) if index != 17]
    result = quantize(detector, images, config)
    expected = quantize(detector, images[others], replace(config, samples=63))
    with torch.no_grad():
        scores = detector(images[others])
        for found in (result, expected, clean):
            error = (found.quantized(images[others]) - scores).square().mean() / scores.var()
            assert error < 0.01
        torch.testing.assert_close(result.quantized(images), expected.quantized(images), rtol=0, atol=0)
    calibration = result.report["calibration"]
    assert calibration["count"] == 63
    assert calibration["outlying"][0].startswith("image 17: the input of second is ")
    assert DefakeQConfig.from_dict(result.config.to_dict()).samples == 64
