"""MesoInception4 as DeepfakeBench re-trained it."""

from torch import nn

from brevitas_defakeq.detectors.entry import benchmark_entry
from brevitas_defakeq.detectors.parts.meso import from_benchmark, meso_inception4


def build() -> nn.Module:
    """Images [N, 3, 256, 256] to logits [N, 2]."""
    return meso_inception4(keras=False)


ENTRY = benchmark_entry(
    name="meso_inception4",
    build=build,
    convert=from_benchmark,
    description="MesoInception4 (29,000 parameters), re-trained by DeepfakeBench",
    paper="Afchar et al., WIFS 2018",
    source="DeepfakeBench v1.0.1, meso4Incep_best.pth",
    blocks=("stages.0", "stages.1"),
    signature=(r"^(backbone\.)?Incption2_conv4_2\.weight$",),
)
