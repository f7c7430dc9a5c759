"""Made scores that several test files share."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from brevitas_defakeq.data.procedural.drawn_faces import draw_many
from brevitas_defakeq.data.sources import Sample
from brevitas_defakeq.detectors.observer import Observer
from brevitas_defakeq.detectors.output import OutputSpec
from brevitas_defakeq.imaging.preprocessing import Preprocessing


@pytest.fixture(scope="session")
def scored():
    """``scored(n, shift, seed, ties)``: labels [n] and scores [n]; fakes lie higher by ``shift``."""

    def make(n=400, shift=1.0, seed=0, ties=False):
        generator = np.random.default_rng(seed)
        labels = generator.integers(0, 2, n)
        scores = generator.normal(size=n) + shift * labels
        return labels, np.round(scores * 2) if ties else scores

    return make


@pytest.fixture(scope="session")
def as_samples():
    """``as_samples(labels, videos, datasets, manipulations)``: samples; what is left out is one for each."""

    def make(labels, videos=None, datasets=None, manipulations=None):
        count = len(labels)
        paths = [Path(f"frames/{index}.png") for index in range(count)]
        videos, datasets = videos or list(map(str, range(count))), datasets or ["test"] * count
        rows = zip(paths, labels, videos, datasets, manipulations or [""] * count, strict=True)
        return [Sample(*row) for row in rows]

    return make


class Contrasts(nn.Module):
    """A detector without training: its logit is how strong the finest detail is, its feature two means."""

    def __init__(self, grid: float = 0.0) -> None:
        super().__init__()
        self.grid = grid
        self.head = nn.Linear(2, 1)
        nn.init.constant_(self.head.weight, 1.0)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        sideways = (images[..., 1:] - images[..., :-1]).abs().mean(dim=(1, 2, 3))
        down = (images[..., 1:, :] - images[..., :-1, :]).abs().mean(dim=(1, 2, 3))
        feature = torch.stack([sideways, down], dim=1)
        if self.grid:  # what rounding does to it
            feature = (feature / self.grid).round() * self.grid
        return self.head(feature)


@pytest.fixture(scope="session")
def contrasts():
    """``contrasts(grid)``: a detector of fine detail, its feature rounded to a grid."""
    return lambda grid=0.0: Contrasts(grid).eval()


@pytest.fixture(scope="session")
def made_run(contrasts):
    """What evaluation needs of a run: two variants, observer, preprocessing, thresholds."""
    return SimpleNamespace(
        quantized=contrasts(0.05),
        mixed=contrasts(0.02),
        observer=Observer(OutputSpec(), "head", "input"),
        plan=SimpleNamespace(contiguous=False, changes_batch=False),
        preprocessing=Preprocessing(32),
        report={"threshold": {"float": 0.0, "quantized": 0.6, "mixed": 0.5}, "detector": {}},
    )


@pytest.fixture(scope="session")
def faces():
    """48 drawn faces as samples, and how their images are read."""
    drawn = draw_many(48, seed=3, size=64)
    samples = [
        Sample(Path(f"drawn/3/{index:06d}"), face.label, face.video, "drawn", face.family * face.label)
        for index, face in enumerate(drawn)
    ]
    return samples, lambda sample: Image.fromarray(drawn[int(sample.path.name)].image)
