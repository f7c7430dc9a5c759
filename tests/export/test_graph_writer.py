"""What torch's exporter must not do to weights whose codes take their place."""

import pytest
import torch
from small_networks import Net
from torch import nn
from torch.nn import functional as F

from brevitas_defakeq import export_onnx, quantize
from brevitas_defakeq.imaging.preprocessing import Preprocessing


def normed(m, x, norm):
    """A BatchNorm of the functional kind, which no preparation folds."""
    return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)


@pytest.mark.parametrize("variant", ["quantized", pytest.param("mixed", marks=pytest.mark.slow)])
def test_batch_norms_behind_layers(variant, images, quick_config, randomized, tmp_path):
    torch.manual_seed(0)
    model = Net(
        lambda m, x: m.head(normed(m, m.fc(normed(m, m.conv(x), m.first).relu().mean((2, 3))), m.second)),
        conv=nn.Conv2d(3, 8, 3, 2), first=nn.BatchNorm2d(8), fc=nn.Linear(8, 8), second=nn.BatchNorm2d(8),
        head=nn.Linear(8, 1),
    )  # fmt: skip
    config = quick_config(average_bits=4, reconstruction__iterations=0, final__steps=0)
    run = quantize(randomized(model), images, config, preprocessing=Preprocessing((16, 16)))
    assert run.plan.folds == ()
    card = export_onnx(run, tmp_path, variant=variant, verify=images)
    assert card.provenance["agreement"]["difference"] < 1e-3
