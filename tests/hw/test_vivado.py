"""The folder for Vivado: FINN reads it, and its own steps without Vivado come to the same folded layers."""

import json
import os
import stat

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.fpga


def test_finns_own_steps_from_the_written_files(build, tmp_path, monkeypatch):
    import networks

    torch.manual_seed(0)
    networks.profile(networks.trained(networks.Cnn(), 16), 16, tmp_path / "model.onnx")
    outcome = build(
        "model.onnx", "--target", "zynq", "--board", "Pynq-Z1", "--out", "out", "--fps", "5000",
        environment={"XILINX_VIVADO": ""},
    )  # fmt: skip
    assert outcome.status == 2
    assert "Vivado is not installed here" in outcome.one_line() and "out/vivado/run.sh" in outcome.one_line()
    folder = tmp_path / "out" / "vivado"
    assert os.stat(folder / "run.sh").st_mode & stat.S_IXUSR
    monkeypatch.chdir(folder)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert _finns_cycles(folder) == {layer["name"]: layer["cycles"] for layer in report["layers"]}


def _finns_cycles(folder):
    """FINN's builder, from the written configuration, up to where Vivado begins: layer -> cycles."""
    from qonnx.core.modelwrapper import ModelWrapper

    from hw.finn_quirks import builder_without_vivado, quiet_finn
    from hw.folding import layer_cycles
    from hw.vivado import FINN_STEPS, LAST_STEP_WITHOUT_VIVADO

    with quiet_finn():
        builder_without_vivado()
        from finn.builder.build_dataflow_config import DataflowBuildConfig
        from finn.builder.build_dataflow_steps import build_dataflow_step_lookup

        config = DataflowBuildConfig.construct_from(folder / "build.json")
        assert set(config.steps) <= set(build_dataflow_step_lookup)
        model = ModelWrapper(str(folder / "model.onnx"))
        for name in FINN_STEPS[: FINN_STEPS.index(LAST_STEP_WITHOUT_VIVADO) + 1]:
            model = build_dataflow_step_lookup[name](model, config)
        return layer_cycles(model)


def test_host_arithmetic(tmp_path):
    """By hand: (0.75 - 0.5) / 0.25 = 1 -> 1 / 0.1 + 3 = 13 -> clipped to 12 -> 9."""
    from hw.host import Host

    content = {
        "input": {"mean": [0.5] * 3, "std": [0.25] * 3, "scale": 0.1, "zero_point": 3, "low": 0, "high": 12},
        "output": {"scale": [0.5, -0.25], "bias": 1.0},
    }
    (tmp_path / "host.json").write_text(json.dumps(content))
    host = Host(tmp_path / "host.json")
    integers = host.integers(np.full((2, 4, 3), 0.75))
    assert integers.shape == (1, 2, 4, 3) and (integers == 9).all()
    assert host.logit(np.array([[4.0, 2.0]])) == 2.5
