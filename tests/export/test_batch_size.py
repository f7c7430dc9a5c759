"""Files for any number of images, of detectors that read their batch size as a Python number."""

import numpy as np
import pytest
import torch
from small_networks import Net
from torch import nn

from brevitas_defakeq import export_onnx, quantize
from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.runtime import Card, ExportedDetector


def reshapes(m, x):
    x = m.conv(x).relu().flatten(2).transpose(1, 2)
    token = m.norm.weight.expand(len(x), 1, -1)
    x = torch.cat([token, x], 1).reshape(len(x) * 50, 8).reshape(len(x), 50, 8)
    return m.head(x.transpose(0, 1)[: len(x) * 50].mean(0))


def loops(m, x):
    """Another graph for every number of images."""
    x = m.conv(x).relu().mean((2, 3))
    return m.head(torch.stack([x[index] / 2 for index in range(len(x))]))


def network(flow):
    torch.manual_seed(0)
    return Net(flow, conv=nn.Conv2d(3, 8, 4, 2), norm=nn.LayerNorm(8), head=nn.Linear(8, 1)).eval()


@pytest.fixture(scope="module")
def run_of(images, quick_config):
    config = quick_config(average_bits=4, reconstruction__iterations=0, final__steps=0)
    return lambda flow: quantize(network(flow), images, config, preprocessing=Preprocessing((16, 16)))


def scores(folder, images):
    detector = ExportedDetector(folder / "model.onnx")
    return [detector.logits(images[:count].numpy()) for count in (1, 2, 7)]


@pytest.mark.parametrize(("flow", "batch"), [(reshapes, None), (loops, 1)])
@pytest.mark.parametrize("verified", [pytest.param(True, marks=pytest.mark.slow), False])
def test_predict_takes_any_number(flow, batch, verified, run_of, images, tmp_path):
    run = run_of(flow)
    card = export_onnx(run, tmp_path, verify=images if verified else None)
    assert card.input.batch == batch
    assert Card.read(tmp_path / "model_card.json") == card
    wanted = run.observer(run.quantized, images[:7])[0].detach().numpy()
    for found in scores(tmp_path, images):
        np.testing.assert_allclose(found, wanted[: len(found)], atol=1e-5)


@pytest.mark.slow
def test_pixels_of_one_image_at_a_time(run_of, images, tmp_path):
    images = (images * 40 + 128).round().clamp(0, 255) / 127.5 - 1
    card = export_onnx(run_of(loops), tmp_path, pixels=True, verify=images)
    assert card.input.batch == 1 and card.provenance["agreement"]["difference"] < 0.05


def test_a_card_names_its_batch_only_if_it_is_fixed(run_of, images, tmp_path):
    content = export_onnx(run_of(lambda m, x: m.head(m.conv(x).mean((2, 3)))), tmp_path).to_json()
    assert "batch" not in content["input"]
