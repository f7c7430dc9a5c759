"""Runs exported for FINN and checked for it, by the functions and by the command."""

import importlib.util
import json

import numpy as np
import onnx
import pytest
import torch
from small_networks import small_vit
from torch import nn

from brevitas_defakeq import UserError, check_finn, export_finn, quantize
from brevitas_defakeq.imaging.preprocessing import Preprocessing

SIZE = 16


class Residual(nn.Module):
    """Depthwise and pointwise convolutions around a sum, pooling, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.ReLU6(), nn.Conv2d(8, 8, 1))
        self.after = nn.Sequential(nn.ReLU(), nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU())
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 1))

    def forward(self, images):
        x = self.stem(images)
        return self.head(self.after(x + self.body(x)))


def vit() -> nn.Module:
    return small_vit(SIZE)


@pytest.fixture(scope="module")
def images():
    return torch.randn(16, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def run(images, quick_config):
    """``run(network, target)``: a quick run, made once."""
    made = {}

    def of(kind, target, **changes):
        key = (kind, target, *changes.items())
        if key not in made:
            torch.manual_seed(0)
            config = quick_config(
                average_bits=4,
                target=target,
                samples=16,
                reconstruction__iterations=2,
                final__steps=0,
                **changes,
            )
            made[key] = quantize(kind().eval(), images, config, preprocessing=Preprocessing((SIZE, SIZE)))
        return made[key]

    return of


@pytest.mark.fpga
@pytest.mark.parametrize("kind", [Residual, vit])
@pytest.mark.parametrize("variant", ["quantized", "mixed"])
def test_the_files_say_what_the_model_says(run, images, kind, variant, tmp_path, executed):
    result = run(kind, "fpga")
    assert not [finding for finding in check_finn(result, variant=variant) if finding.kind == "cannot"]
    host = export_finn(result, tmp_path, variant=variant, verify=images)
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "host.json"}
    assert json.loads((tmp_path / "host.json").read_text()) == host
    assert host["format_version"] == 1 and host["agreement"]["largest"] <= 1e-5
    assert host["input"]["shape"] == [1, 3, SIZE, SIZE] and len(host["input"]["mean"]) == 3
    model, given, back = onnx.load(tmp_path / "model.onnx"), host["input"], host["output"]
    found = []
    for image in images[:4].numpy():
        codes = np.clip(image / np.float32(given["scale"]) + given["zero_point"], given["low"], given["high"])
        integers = np.round(codes).astype(np.float32) - np.float32(given["zero_point"])
        found.append((executed(model, integers[None]).ravel() * back["scale"]).sum() + back["bias"])
    with torch.no_grad():
        wanted = result.observer(getattr(result, variant), images[:4])[0].numpy()
    assert np.median(np.abs(found - wanted)) <= 1e-5 * max(np.ptp(wanted), np.abs(wanted).max())


@pytest.mark.fpga
def test_a_run_that_does_not_map_is_refused_with_its_first_reason(run, images, tmp_path):
    result = run(Residual, "any")
    findings = check_finn(result)
    refused = [finding for finding in findings if finding.kind == "cannot"]
    assert {finding.operator for finding in refused} >= {"Add"}
    assert {finding.layer for finding in findings if "weight zero points" in finding.problem} <= set(
        result.bits
    )
    with pytest.raises(
        UserError, match=r"a sum .*quantize with --target fpga \(\d+ such problems;"
    ) as caught:
        export_finn(result, tmp_path / "out", verify=images)
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_a_run_without_preprocessing_or_with_another_variant_is_refused(run, images, quick_config, tmp_path):
    result = run(Residual, "any")
    with pytest.raises(UserError, match="variant='float': choose of quantized, mixed"):
        export_finn(result, tmp_path, variant="float")
    plain = quantize(
        Residual().eval(), images, quick_config(samples=16, reconstruction__iterations=1, final__steps=0)
    )
    for call in (lambda: export_finn(plain, tmp_path), lambda: check_finn(plain)):
        with pytest.raises(UserError, match="quantize with preprocessing="):
            call()
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(bool(importlib.util.find_spec("qonnx")), reason="the extra is there")
def test_a_missing_extra_is_named(run, tmp_path):
    for call in (lambda run: export_finn(run, tmp_path), check_finn):
        with pytest.raises(UserError, match=r"brevitas_defakeq\[fpga\]"):
            call(run(Residual, "any"))


@pytest.mark.parametrize("arguments, expected", [
    (("--format", "onnx", "--check", "--out", "x"), "--check is for --format finn"),
    (("--format", "finn"), "give --out"),
    (("--format", "finn", "--out", "x", "--pixels"), "is for --format onnx, not finn"),
    (("--format", "finn", "--check", "--which", "float"), "--which float: choose of quantized, mixed"),
])  # fmt: skip
def test_wrong_options_get_one_line(finished, arguments, expected):
    outcome = finished("export", "run", *arguments)
    assert outcome.status == 2 and expected in outcome.one_line()


@pytest.mark.fpga
def test_the_check_as_a_command(finished):
    outcome = finished("export", "run", "--format", "finn", "--check", "--json")
    assert outcome.status == 2 and "cannot be mapped to FINN, the first is" in outcome.errors
    found = outcome.json()
    assert not found["maps"] and found["cannot"] == sum(f["kind"] == "cannot" for f in found["findings"])
    assert found["extra_bits"] == sum(f["extra_bits"] for f in found["findings"]) > 0
    assert set(found["findings"][0]) == {"layer", "operator", "kind", "problem", "change", "extra_bits"}
    table = finished("export", "run", "--format", "finn", "--check")
    assert table.status == 2 and "what to change" in table.output and "Traceback" not in table.errors


@pytest.mark.fpga
def test_the_export_as_a_command(workplace):
    (workplace.folder / "plain.py").write_text(PLAIN)
    arguments = ("quantize", "plain:build", "--calibration", "faces", "--samples", 24, "--iterations", 2)
    assert workplace(*arguments, "--target", "fpga", "--out", "cnn").status == 0
    checked = workplace("export", "cnn", "--format", "finn", "--check", "--json")
    assert checked.status == 0 and checked.json()["maps"]
    outcome = workplace("export", "cnn", "--format", "finn", "--out", "finn", "--data", "others", "--json")
    assert outcome.status == 0, outcome.errors
    assert outcome.json()["agreement"]["largest"] <= 1e-5
    assert sorted(path.name for path in (workplace.folder / "finn").iterdir()) == ["host.json", "model.onnx"]


PLAIN = """
from small_networks import small_vit
from torch import nn


def build():
    layers = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU(),
                           nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 1))
    return layers.eval(), {"input_size": 16, "mean": 0.5, "std": 0.25}
"""
