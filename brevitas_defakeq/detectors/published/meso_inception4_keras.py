"""MesoInception4 with the authors' own weights, from their Keras file or its tensors as .npz."""

from functools import partial

from torch import nn

from brevitas_defakeq.detectors.parts.meso import MESO_INCEPTION4, from_keras, meso_inception4
from brevitas_defakeq.detectors.published.meso4_keras import keras_entry


def build() -> nn.Module:
    """Images [N, 3, 256, 256] to the logit of "real" [N, 1]."""
    return meso_inception4(keras=True)


ENTRY = keras_entry(
    name="meso_inception4_keras",
    build=build,
    convert=partial(from_keras, convolutions=MESO_INCEPTION4),
    description="MesoInception4 (29,000 parameters) as its authors published it; a high score means real",
    source="the authors' MesoInception_DF.h5 or MesoInception_F2F.h5, or its tensors as .npz",
    blocks=("stages.0", "stages.1"),
    signature=(r"^conv2d_16/kernel$",),
)
