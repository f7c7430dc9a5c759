"""NPR: the differences between neighbouring pixels, read by the first two stages of a ResNet-50."""

from torch import nn

from brevitas_defakeq.detectors.entry import IMAGENET_STATISTICS, DetectorEntry
from brevitas_defakeq.detectors.output import OutputSpec
from brevitas_defakeq.detectors.parts.npr_network import NPR
from brevitas_defakeq.imaging.crop import Crop
from brevitas_defakeq.imaging.preprocessing import Preprocessing


def build() -> nn.Module:
    """Images [N, 3, H, W], H and W even, to one logit [N, 1]."""
    return NPR()


ENTRY = DetectorEntry(
    name="npr",
    build=build,
    description="NPR: neighbouring pixels' differences, two stages of a ResNet-50; the whole image",
    licence="none stated",
    paper="Tan et al., CVPR 2024",
    source="the authors' NPR.pth or model_epoch_last_3090.pth",
    preprocessing=Preprocessing((256, 256), "bilinear", *IMAGENET_STATISTICS),
    crop=Crop("whole"),
    output=OutputSpec("logit"),
    outside={"residual": "differences of 8-bit pixels are exact in 9 bits; rounding erases them"},
    signature=(r"^fc1\.weight$", r"^layer2\.3\.conv3\.weight$"),
)
