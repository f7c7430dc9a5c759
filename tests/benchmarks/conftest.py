"""What the tests of `benchmarks/` share: its folder on the path, and jobs of small networks."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from brevitas_defakeq.calibration_set import from_tensors
from brevitas_defakeq.config import DefakeQConfig, FinalPassConfig, ReconstructionConfig
from brevitas_defakeq.detectors.resolve import Detector

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


class Residual(nn.Module):
    """A stem, a gated depthwise residual block, a branch of two concatenated convolutions, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.expand = nn.Conv2d(6, 10, 1)
        self.depthwise = nn.Conv2d(10, 10, 3, padding=1, groups=10)
        self.squeeze = nn.Conv2d(10, 3, 1)
        self.excite = nn.Conv2d(3, 10, 1)
        self.project = nn.Conv2d(10, 6, 1)
        self.left, self.right = nn.Conv2d(6, 4, 1), nn.Conv2d(6, 5, 3, padding=1)
        self.join = nn.Conv2d(9, 7, 1)
        self.norm = nn.GroupNorm(1, 7)
        self.head = nn.Linear(7 * 4, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        start = self.stem(images).relu()
        wide = self.depthwise(self.expand(start).relu()).relu()
        wide = wide * self.excite(self.squeeze(wide.mean((2, 3), keepdim=True)).relu()).sigmoid()
        narrow = start + self.project(wide)
        both = torch.cat([self.left(narrow), self.right(narrow)], dim=1).relu()
        joined = nn.functional.adaptive_avg_pool2d(self.norm(self.join(both)), 2)
        return self.head(joined.flatten(1))


@pytest.fixture(scope="session")
def detectors(tiny):
    """``detectors(name)``: "tiny" (convolutions and attention) or "residual" (gates, sums, concatenation)."""

    def make(name):
        with torch.random.fork_rng():
            torch.manual_seed(1)
            model = tiny.model() if name == "tiny" else Residual().eval()
        return Detector(model, name, None)

    return make


@pytest.fixture(scope="session")
def quick_steps():
    """``best`` with few steps."""
    return DefakeQConfig.for_recipe(
        "best", samples=32, reconstruction=ReconstructionConfig(iterations=20), final=FinalPassConfig(steps=4)
    )


@pytest.fixture
def jobs(detectors, images, quick_steps):
    """``jobs(name)``: the detector's job, prepared and not begun."""

    def make(name):
        from benchmarks.compression.measured_run import new_job

        return new_job(detectors(name), from_tensors(images, None, 32), quick_steps)

    return make
