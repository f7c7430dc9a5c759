"""Convolutions that pad with values of their input."""

import pytest
import torch
from small_networks import Net
from torch import nn
from torch.nn import functional as F

from brevitas_defakeq import export_onnx, quantize
from brevitas_defakeq.config import DefakeQConfig
from brevitas_defakeq.detectors.resolve import Detector
from brevitas_defakeq.export.convolution_geometry import OwnPadding
from brevitas_defakeq.export.executorch import EXECUTORCH
from brevitas_defakeq.export.integer_modules import integer_export_modules
from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.report.inspection_report import inspect_detector

MODES = ("reflect", "replicate", "circular")


def network(mode):
    torch.manual_seed(0)
    return Net(
        lambda m, x: m.head(m.act(m.last(m.act(m.second(m.act(m.first(x)))))).mean((2, 3))),
        first=nn.Conv2d(3, 8, 3, 2, padding=1), second=nn.Conv2d(8, 8, 3, padding=(2, 1), padding_mode=mode),
        last=nn.Conv2d(8, 8, (4, 3), padding="same", dilation=(1, 2), groups=2, padding_mode=mode),
        act=nn.ReLU(), head=nn.Linear(8, 1),
    ).eval()  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_the_padding_is_torchs(mode):
    layer = nn.Conv2d(2, 2, (4, 3), padding="same", dilation=(1, 2), padding_mode=mode)
    x = torch.arange(2 * 2 * 5 * 6.0).reshape(2, 2, 5, 6)
    padding = OwnPadding.of(layer)
    wanted = F.pad(x, layer._reversed_padding_repeated_twice, mode=mode)
    assert torch.equal(padding(x), wanted)
    assert padding.padded_shape(x.shape) == list(wanted.shape)


@pytest.mark.parametrize(
    ("mode", "target"),
    [
        ("reflect", "mobile"),
        pytest.param("replicate", "any", marks=pytest.mark.slow),
        pytest.param("circular", "mobile", marks=pytest.mark.slow),
        pytest.param("circular", "any", marks=pytest.mark.slow),
        pytest.param("reflect", "fpga", marks=pytest.mark.slow),
    ],
)
def test_the_files_agree_with_the_model(mode, target, images, quick_config, tmp_path, caplog):
    config = quick_config(target=target, average_bits=4, reconstruction__iterations=0, final__steps=0)
    run = quantize(network(mode), images, config, preprocessing=Preprocessing((16, 16)))
    assert list(run.bits) == ["first", "second", "last", "head"]
    assert (f"second: {mode} padding has no form on an FPGA" in caplog.text) == (target == "fpga")
    card = export_onnx(run, tmp_path, verify=images)
    # Float kernels sum in another order than torch: the odd code beside a rounding boundary falls otherwise.
    bound = 0.03 if target == "any" else 1e-3
    assert card.provenance["agreement"]["difference"] < bound
    if target == "mobile":
        assert card.patterns["runs as QLinearConv"] == 3
    made, _ = integer_export_modules(run, run.quantized, EXECUTORCH.layers)
    with torch.no_grad():
        found = torch.cat([made(image[None]) for image in images])
        wanted = run.observer(run.quantized, images)[0]
    assert (found - wanted).square().mean().sqrt() < 0.05 * wanted.std()


def test_inspect_tells():
    detector = Detector(network("reflect"), "padded", Preprocessing((16, 16)))
    rows = inspect_detector(detector, DefakeQConfig(average_bits=4))["layers"]
    assert {row["name"]: row["padding"] for row in rows} == {
        "first": None, "second": "reflect", "last": "reflect", "head": None
    }  # fmt: skip
