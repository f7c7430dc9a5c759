"""Meso4 as DeepfakeBench re-trained it."""

from torch import nn

from brevitas_defakeq.detectors.entry import benchmark_entry
from brevitas_defakeq.detectors.parts.meso import from_benchmark, meso4


def build() -> nn.Module:
    """Images [N, 3, 256, 256] to logits [N, 2]."""
    return meso4(keras=False)


ENTRY = benchmark_entry(
    name="meso4",
    build=build,
    convert=from_benchmark,
    description="Meso4 (28,000 parameters), re-trained by DeepfakeBench",
    paper="Afchar et al., WIFS 2018",
    source="DeepfakeBench v1.0.1, meso4_best.pth",
    signature=(r"^(backbone\.)?conv4\.weight$", r"^(backbone\.)?bn2\.weight$", r"^(backbone\.)?fc2\.weight$"),
)
