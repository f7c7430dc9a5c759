"""Meso4 with the authors' own weights, from their Keras file or its tensors as .npz."""

from functools import partial

from torch import nn

from brevitas_defakeq.detectors.entry import DetectorEntry
from brevitas_defakeq.detectors.output import OutputSpec
from brevitas_defakeq.detectors.parts.meso import MESO4, from_keras, meso4
from brevitas_defakeq.imaging.crop import Crop
from brevitas_defakeq.imaging.preprocessing import Preprocessing

#: An entry of the authors': values from 0 to 1, one logit that is high for real faces.
keras_entry = partial(
    DetectorEntry,
    # Keras' image generator resizes to the nearest pixel
    preprocessing=Preprocessing((256, 256), "nearest", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    crop=Crop("box", 0.0),
    output=OutputSpec("logit", fake_index=0),
    licence="Apache-2.0",
    paper="Afchar et al., WIFS 2018",
)


def build() -> nn.Module:
    """Images [N, 3, 256, 256] to the logit of "real" [N, 1]."""
    return meso4(keras=True)


ENTRY = keras_entry(
    name="meso4_keras",
    build=build,
    convert=partial(from_keras, convolutions=MESO4),
    description="Meso4 (28,000 parameters) as its authors published it; a high score means real",
    source="the authors' Meso4_DF.h5 or Meso4_F2F.h5, or its tensors as .npz",
    signature=(r"^conv2d_5/kernel$", r"^dense_4/kernel$"),
)
