"""Every published detector goes through inspect, quantize and export, with random weights."""

import subprocess
import sys

import pytest
import torch

from brevitas_defakeq import export_onnx, quantize
from brevitas_defakeq.demo import drawn_calibration
from brevitas_defakeq.detectors.resolve import resolve
from brevitas_defakeq.report.inspection_report import inspect_detector

#: Detector -> (model arguments, side where not its own); two blocks stand for the 24 of CLIP's tower.
DETECTORS = {
    "classnseg": ({}, None), "dfb_efficientnet_b4": ({}, 128), "dfb_xception": ({}, 128),
    "effort": ({"depth": 2}, None), "lsda": ({}, 128), "meso4": ({}, None), "meso4_keras": ({}, None),
    "meso_inception4": ({}, None), "meso_inception4_keras": ({}, None), "npr": ({}, 128), "sbi": ({}, 128),
    "ucf": ({}, 128), "univfd": ({"depth": 2}, None), "wavelet_clip": ({"depth": 2}, None),
}  # fmt: skip

LARGE = """
import resource, sys
import torch
from brevitas_defakeq import DefakeQConfig, quantize
from brevitas_defakeq.config import FinalPassConfig, ReconstructionConfig
from brevitas_defakeq.detectors.resolve import resolve

torch.manual_seed(0)
detector = resolve("wavelet_clip")
images = torch.randn(8, 3, 224, 224, generator=torch.Generator().manual_seed(0))
work = ReconstructionConfig(iterations=2, batch_size=4)
config = DefakeQConfig(samples=8, reconstruction=work, final=FinalPassConfig(steps=2))
result = quantize(detector, images, config, out=sys.argv[1])
size = result.report["size_bytes"]
assert torch.isfinite(result.quantized(images[:1])).all()
print(size["quantized"] / size["float"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", DETECTORS)
def test_inspected_quantized_exported(name, quick_config, tmp_path):
    model_args, side = DETECTORS[name]
    torch.manual_seed(0)
    detector = resolve(name, model_args=model_args, input_size=side)
    for module in detector.model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    steps = {"reconstruction__iterations": 2, "reconstruction__batch_size": 4, "final__steps": 0}
    config = quick_config(target="mobile", samples=16, **steps)
    found = inspect_detector(detector, config)
    assert found["expected_seconds"] > 0 and sum(row["share"] for row in found["layers"]) == pytest.approx(1)
    images = drawn_calibration(detector.preprocessing, 32)[0]
    run = quantize(detector, images[:16], config)
    assert set(detector.outside) <= set(run.plan.left_float)
    for variant in ("quantized", "mixed"):
        agreement = export_onnx(run, tmp_path / variant, variant=variant, verify=images).provenance[
            "agreement"
        ]
        assert agreement["verdicts"] >= 0.95, agreement
        assert agreement["difference"] < 0.02 + 2 * agreement["unrest"], agreement


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_whole_vit_large_in_bounded_memory(tmp_path):
    """24 blocks, 303 million parameters, 8 images; a process of its own, for its peak."""
    ran = subprocess.run(
        [sys.executable, "-c", LARGE, str(tmp_path / "run")], capture_output=True, text=True, timeout=7200
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    share, peak = map(float, ran.stdout.split()[-2:])
    assert share < 0.12 and peak < 12, (share, peak)
