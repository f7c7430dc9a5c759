"""From a quantized detector to hardware: torch, QONNX, profile and both graphs are one function."""

import json

import numpy as np
import pytest
import torch
from small_networks import small_vit
from torch import nn

from brevitas_defakeq import quantize
from brevitas_defakeq.imaging.preprocessing import Preprocessing

pytestmark = pytest.mark.fpga
SIDE = 32


class Residual(nn.Module):
    """Expand, depthwise, project, add."""

    def __init__(self, channels, hidden, after):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6(),
            nn.Conv2d(hidden, hidden, 3, 1, 1, groups=hidden, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6(),
            nn.Conv2d(hidden, channels, 1, bias=False), nn.BatchNorm2d(channels),
        )  # fmt: skip
        self.after = after

    def forward(self, x):
        return self.after(x + self.body(x))


def cnn():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU6(), Residual(16, 32, nn.Identity()),
        nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), Residual(32, 48, nn.ReLU()), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(32, 1),
    )  # fmt: skip


def vit():
    return small_vit(SIDE, depth=2, embed_dim=24, num_heads=3, std=0.2)


@pytest.mark.parametrize(("make", "board"), [(cnn, "Pynq-Z1"), (vit, "VCK190")])
def test_detector_to_hardware(make, board, tmp_path, quick_config):
    from brevitas_defakeq import export_finn, export_qonnx

    torch.manual_seed(0)
    detector, images = make().eval(), torch.randn(24, 3, SIDE, SIDE)
    config = quick_config(
        target="fpga", average_bits=4, candidate_bits=(2, 3, 4, 6, 8), samples=16,
        reconstruction__iterations=2, final__steps=2,
    )  # fmt: skip
    result = quantize(detector, images[:16], config, preprocessing=Preprocessing((SIDE, SIDE)))
    export_qonnx(result, tmp_path / "qonnx")
    export_finn(result, tmp_path / "finn")
    graphs = _built(tmp_path / "finn" / "model.onnx", tmp_path / "out", board)

    host = json.loads((tmp_path / "finn" / "host.json").read_text())
    answers = {name: [] for name in ("torch", "qonnx", "profile", *graphs)}
    for image in images[16:]:
        with torch.no_grad():
            answers["torch"].append(float(result.quantized(image[None]).squeeze()))
        answers["qonnx"].append(_run(tmp_path / "qonnx" / "model.onnx", image[None].numpy()).item())
        integers = _integers(host["input"], image[None].numpy())
        answers["profile"].append(_logit(host["output"], _run(tmp_path / "finn" / "model.onnx", integers)))
        for name, path in graphs.items():
            answers[name].append(_logit(host["output"], _run(path, _laid_out(path, integers))))
    wanted = np.array(answers["torch"])
    scale = np.abs(wanted).max()
    assert np.ptp(wanted) > 1e-3 * scale
    for name, found in answers.items():
        apart = np.abs(np.array(found) - wanted) / scale
        # float32 sums of torch and of qonnx may fall to either side of a boundary, on one image or another
        assert np.mean(apart <= 1e-5) >= 0.75, f"{name}: {apart}"
    exact = np.abs(np.array(answers["hardware"]) - np.array(answers["streamline"])) / scale
    assert np.mean(exact <= 1e-5) >= 0.75


def _built(profile, out, board):
    """Build; the graphs to run. All nodes are mapped, and every step is the profile on every frame."""
    from qonnx.core.modelwrapper import ModelWrapper

    from hw.boards import board_named
    from hw.build_steps import Build
    from hw.unmapped_nodes import unmapped_reasons

    build = Build(profile, board_named(board), out)
    graph = build.run()
    assert not unmapped_reasons(graph)
    assert all(found["equal"] == found["frames"] for found in build.verified.values()), build.verified
    paths = {"streamline": "03_streamline.onnx", "hardware": "05_hardware.onnx"}
    assert not unmapped_reasons(ModelWrapper(str(out / "steps" / paths["hardware"])))
    return {name: out / "steps" / path for name, path in paths.items()}


def _run(path, values):
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx

    from hw.finn_quirks import quiet_finn

    with quiet_finn():
        model = ModelWrapper(str(path))
        return execute_onnx(model, {model.graph.input[0].name: values})[model.graph.output[0].name]


def _laid_out(path, integers):
    return np.ascontiguousarray(integers.transpose(0, 2, 3, 1)) if "hardware" in path.name else integers


def _integers(given, image):
    """host.json's arithmetic, written out."""
    codes = image / np.float32(given["scale"]) + np.float32(given["zero_point"])
    codes = np.round(np.clip(codes, given["low"], given["high"]))
    return (codes - np.float32(given["zero_point"])).astype(np.float32)


def _logit(back, answer):
    return float(answer.reshape(-1).astype(np.float64) @ np.array(back["scale"]) + back["bias"])
