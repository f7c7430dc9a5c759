"""ClassNSeg: the encoder of Nguyen et al., nine 3 x 3 convolutions whose latent map's halves are compared."""

from torch import nn

from brevitas_defakeq.detectors.entry import IMAGENET_STATISTICS, DetectorEntry
from brevitas_defakeq.detectors.output import OutputSpec
from brevitas_defakeq.detectors.parts.classnseg_network import ClassNSeg
from brevitas_defakeq.imaging.crop import Crop
from brevitas_defakeq.imaging.preprocessing import Preprocessing


def build() -> nn.Module:
    """Images [N, 3, 256, 256] to one logit [N, 1]."""
    return ClassNSeg()


ENTRY = DetectorEntry(
    name="classnseg",
    build=build,
    description="ClassNSeg's encoder (148,000 parameters), classification alone",
    licence="BSD-3-Clause",
    paper="Nguyen et al., BTAS 2019",
    source="the authors' checkpoints/full/encoder_46.pt",
    preprocessing=Preprocessing((256, 256), "bilinear", *IMAGENET_STATISTICS),
    crop=Crop("box", 0.0),
    output=OutputSpec("logit"),
    feature="encoder",
    signature=(r"^encoder\.24\.weight$", r"^encoder\.0\.weight$"),
)
