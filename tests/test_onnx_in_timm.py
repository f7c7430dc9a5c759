"""Ten timm architectures through both of torch's exporters and back: equal scores, widths and interface."""

import sys
from pathlib import Path

import onnx
import pytest
import torch
from onnx_files import write
from timm import create_model

from brevitas_defakeq import quantize
from brevitas_defakeq.detectors.resolve import resolve
from brevitas_defakeq.export import export

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.architectures import liven_, made_up_images  # noqa: E402

#: Architecture -> side of the images, and what makes it small.
ARCHITECTURES = {
    "mobilenetv2_035": (96, {}), "resnet18": (96, {}), "efficientnet_lite0": (96, {}),
    "convnext_atto": (96, {}),
    "deit_tiny_patch16_224": (64, {"img_size": 64, "depth": 3}),
    "swin_tiny_patch4_window7_224": (112, {"img_size": 112, "depths": (1, 1, 1, 1)}),
    "repvgg_a0": (96, {}), "mobilenetv4_conv_small": (96, {}), "regnety_002": (96, {}),
    "legacy_xception": (96, {}),
}  # fmt: skip


def names(path):
    graph = onnx.load(path, load_external_data=False).graph
    return [value.name for value in (*graph.input, *graph.output)]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_there_and_back(name, quick_config, tmp_path):
    side, options = ARCHITECTURES[name]
    torch.manual_seed(0)
    network = create_model(name, num_classes=2, **options)
    images = made_up_images(side)[:16]
    liven_(network, images)
    network.eval()
    config = quick_config(samples=16, reconstruction__iterations=2, final__steps=2)
    with torch.no_grad():
        wanted = network(images)
    bits = quantize(network, images, config).bits
    for opset, dynamo in ((16, False), (18, True)):
        file = write(network, tmp_path / f"{opset}.onnx", opset, dynamo=dynamo, size=side)
        detector = resolve(str(file), mean=0.5, std=0.5)
        with torch.no_grad():
            found = detector.model(images)
        assert (found - wanted).abs().max() <= 1e-4 * wanted.std(dim=0).max()
        run = quantize(detector, images, config)
        assert list(run.bits.values()) == list(bits.values())
        export(run, tmp_path / "out", "onnx", verify=images)
        assert names(tmp_path / "out" / "model.onnx") == names(file)
