"""timm's own pre-processing of an architecture."""

import pytest
import torch

from brevitas_defakeq.detectors.parts.timm_model import preprocessing_from_timm
from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.utils.errors import UserError


def test_from_timm():
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        swin = timm.create_model("swin_tiny_patch4_window7_224", img_size=192)
        mobile = timm.create_model("mobilenetv2_035")
    imagenet = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    assert preprocessing_from_timm(mobile) == Preprocessing((224, 224), "bicubic", **imagenet)
    assert preprocessing_from_timm(swin).input_size == (192, 192)
    with pytest.raises(UserError, match="Linear"):
        preprocessing_from_timm(torch.nn.Linear(1, 1))
