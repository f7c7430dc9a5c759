"""Networks as people write them: what the check says maps is built, exactly; the rest is refused by name."""

import pytest
import torch
from peoples_fpga_models import MAPPED, REFUSED, norm_behind_pooling, residual, warmed

from brevitas_defakeq import UserError, check_finn, export_finn, quantize
from brevitas_defakeq.imaging.preprocessing import Preprocessing

pytestmark = pytest.mark.fpga
SIDE = 16


def functions():
    """The residual network with functions only."""
    return residual("functions")


def shared():
    """The residual network with one ReLU, in place."""
    return residual("shared in place")


@pytest.fixture(scope="module")
def run(quick_config):
    """``run(network)``: a quick run for FPGAs, and images that it has not seen."""

    def of(make):
        torch.manual_seed(0)
        images = torch.randn(24, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
        config = quick_config(
            target="fpga", average_bits=4, samples=16, reconstruction__iterations=1, final__steps=0
        )
        given = Preprocessing((SIDE, SIDE))
        return quantize(warmed(make()), images[:16], config, preprocessing=given), images[16:]

    return of


def built(profile, out, board="ZCU104"):
    """The folded graph and the report."""
    from hw.boards import board_named
    from hw.build_report import build_report
    from hw.build_steps import Build
    from hw.finn_quirks import quiet_finn

    build = Build(profile, board_named(board), out)
    graph = build.run()
    assert all(found["equal"] == found["frames"] for found in build.verified.values()), build.verified
    with quiet_finn():
        return build_report(
            graph, board_named(board), target="estimate", wanted_fps=None, verified=build.verified
        )


@pytest.mark.parametrize("make", [*MAPPED, functions, shared])
def test_what_maps_is_built_and_every_step_equals_the_profile(make, run, tmp_path):
    result, images = run(make)
    assert not [finding.line() for finding in check_finn(result) if finding.kind == "cannot"]
    host = export_finn(result, tmp_path, verify=images)
    assert host["agreement"]["largest"] <= 1e-5 or host["agreement"]["ties"]
    report = built(tmp_path / "model.onnx", tmp_path / "out")
    for layer in report["layers"]:
        known = layer["kind"] != "LayerNorm"
        assert (layer["cycles"] > 0) == known == (layer["frames_per_second"] is not None), layer


@pytest.mark.parametrize("problem", REFUSED)
def test_what_does_not_map_is_refused_by_name(problem, run, tmp_path):
    result, _ = run(REFUSED[problem])
    refused = [finding.line() for finding in check_finn(result) if finding.kind == "cannot"]
    assert problem in refused[0] or any(problem in line for line in refused)
    with pytest.raises(UserError, match="; nothing was written"):
        export_finn(result, tmp_path)


def test_cycles_that_finn_does_not_estimate_are_said(run, tmp_path):
    from hw.build_report import heading, report_markdown

    result, _ = run(norm_behind_pooling)
    (found,) = [finding for finding in check_finn(result) if finding.operator == "LayerNormalization"]
    assert found.kind == "costs" and "HLS on others" in found.problem
    export_finn(result, tmp_path)
    report = built(tmp_path / "model.onnx", tmp_path / "out")
    assert heading(report).startswith("at most ") and "cycles" in report["lower_bounds"]
    assert "does not estimate the cycles of LayerNorm_hls_0" in report_markdown(report)
    assert "| LayerNorm_hls_0 | ≥ 0 | ? |" in report_markdown(report)
    versal = built(tmp_path / "model.onnx", tmp_path / "versal", "VCK190")
    assert "cycles" not in versal["lower_bounds"] and heading(versal)[0].isdigit()
