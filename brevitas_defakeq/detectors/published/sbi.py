"""SBI: EfficientNet-B4 trained on self-blended images, by its authors' own code."""

from torch import nn

from brevitas_defakeq.detectors.entry import DetectorEntry, State
from brevitas_defakeq.detectors.output import OutputSpec
from brevitas_defakeq.detectors.parts.efficientnet import efficientnet_b4, efficientnet_to_timm
from brevitas_defakeq.detectors.parts.keys import renamed
from brevitas_defakeq.imaging.crop import Crop
from brevitas_defakeq.imaging.preprocessing import Preprocessing


def build() -> nn.Module:
    """Images [N, 3, 380, 380] to logits [N, 2]."""
    return efficientnet_b4(padded_stem=True, num_classes=2)


def convert(state: State) -> State:
    """The head's name is ``classifier`` here."""
    return renamed(efficientnet_to_timm(state, "net."), {r"^_fc\.": "classifier."})


ENTRY = DetectorEntry(
    name="sbi",
    build=build,
    convert=convert,
    description="EfficientNet-B4 trained on self-blended images; the face box, stretched",
    licence="University of Tokyo, non-commercial research, no redistribution",
    paper="Shiohara and Yamasaki, CVPR 2022",
    source="the authors' FFraw.tar or FFc23.tar",
    preprocessing=Preprocessing((380, 380), "cv2_linear", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    crop=Crop("box", 0.125),
    output=OutputSpec("softmax"),
    signature=(r"^net\._blocks\.31\.", r"^net\._fc\.weight$"),
)
