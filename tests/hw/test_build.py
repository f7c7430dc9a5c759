"""`hw/build.py` on small networks of the profile's form: mapping, folding, resumption, report."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.fpga


@pytest.fixture(scope="module")
def cnn(tmp_path_factory):
    """Profile of a residual depthwise network with widths 2 to 8, 16 x 16 pixels, and the module."""
    import networks

    torch.manual_seed(0)
    module = networks.trained(networks.Cnn(), 16)
    path, scale = networks.profile(module, 16, tmp_path_factory.mktemp("cnn") / "model.onnx")
    return path, module, scale


def run(path, out, board="Pynq-Z1", **settings):
    from hw.boards import board_named
    from hw.build_steps import Build

    build = Build(path, board_named(board), out, **settings)
    return build, build.run()


@pytest.fixture(scope="module")
def built(cnn, tmp_path_factory):
    """The network built for a rate of 1000 frames a second."""
    out = tmp_path_factory.mktemp("built")
    return out, *run(cnn[0], out, fps=1000.0)


def test_hardware_graph_is_the_torch_module(cnn, built):
    """The graph that FINN executes in Python, against torch: not against another of our graphs."""
    import networks
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx

    from hw.finn_quirks import quiet_finn

    _, module, scale = cnn
    graph = ModelWrapper(str(built[0] / "steps" / "05_hardware.onnx"))
    assert all(node.domain.startswith("finn.custom_op.fpgadataflow") for node in graph.graph.node)
    wanted, found = [], []
    for seed in range(8):
        image = networks.image(16, seed)
        integers = torch.clamp(torch.round(image / scale), -128, 127).numpy().transpose(0, 2, 3, 1)
        with torch.no_grad(), quiet_finn():
            wanted.append(float(module(image)))
            found.append(
                execute_onnx(graph, {"global_in": np.ascontiguousarray(integers)})["global_out"].item()
            )
    wanted, found = np.array(wanted), np.array(found)
    assert np.ptp(wanted) > 1e-3
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_every_step_is_verified(built):
    _, build, _ = built
    assert list(build.verified) == [
        "tidy", "convert", "streamline", "lower", "hardware", "partition", "specialize", "fold", "decompose",
    ]  # fmt: skip
    assert all(found["frames"] == found["equal"] == 4 for found in build.verified.values())


def test_a_changed_network_is_noticed(cnn, built):
    """One threshold of the hardware graph moved far: verification must fail."""
    from qonnx.core.modelwrapper import ModelWrapper

    from hw.finn_quirks import quiet_finn
    from hw.verify_steps import ProfileReference, StepError

    with quiet_finn():
        reference = ProfileReference(ModelWrapper(str(cnn[0])), None)
        graph = ModelWrapper(str(built[0] / "steps" / "05_hardware.onnx"))
        name = graph.get_nodes_by_op_type("Thresholding")[3].input[1]
        levels = graph.get_initializer(name).copy()
        levels[:, :] += 40
        graph.set_initializer(name, levels)
        with pytest.raises(StepError, match="step hardware changed the network"):
            reference.check("hardware", graph)


def test_rate_is_reached_and_no_more_is_spent_than_needed(built):
    from hw.folding import layer_cycles

    slowest = max(layer_cycles(built[2]).values())
    assert slowest <= 100_000  # 100 MHz / 1000 frames a second


def test_faster_rates_fold_more(cnn, built):
    from hw.estimate import totals
    from hw.finn_quirks import quiet_finn
    from hw.folding import layer_cycles

    with quiet_finn():
        slow = totals(built[2].graph.node, "xc7z020clg400-1")
    build, graph = run(cnn[0], built[0], fps=50_000.0)
    assert build.resumed == ["tidy", "convert", "streamline", "lower", "hardware", "partition", "specialize"]
    with quiet_finn():
        assert max(layer_cycles(graph).values()) <= 2000
        assert totals(graph.graph.node, "xc7z020clg400-1")["dsp"] > slow["dsp"]


def test_a_rate_that_no_folding_reaches(cnn, built):
    from brevitas_defakeq import UserError

    with pytest.raises(
        UserError, match="--fps 1e.07: no folding reaches it; the highest rate at 100 MHz is"
    ) as told:
        run(cnn[0], built[0], fps=1e7)
    highest = float(str(told.value).rpartition(" ")[2])
    run(cnn[0], built[0], fps=0.999 * highest)  # and that one is reached


def test_fit_is_within_the_margins_and_faster_would_not_be(cnn, built):
    from dataclasses import replace

    from qonnx.core.modelwrapper import ModelWrapper

    from hw.boards import board_named
    from hw.estimate import totals
    from hw.finn_quirks import quiet_finn
    from hw.folding import fold_, fold_to_device_, layer_cycles, place_thresholds_

    board = replace(board_named("Pynq-Z1"), lut=6_000, dsp=20)
    with quiet_finn():
        graph = ModelWrapper(str(built[0] / "steps" / "07_specialize.onnx"))
        fold_to_device_(graph, board)
        cycles = max(layer_cycles(graph).values())
        taken = totals(graph.graph.node, board.part)
        assert all(taken[name] <= limit for name, limit in board.limits().items())
        fold_(graph, int(cycles / 1.3))
        taken = place_thresholds_(graph, board)
        assert any(taken[name] > limit for name, limit in board.limits().items())


def test_a_device_that_is_too_small(built):
    from dataclasses import replace

    from qonnx.core.modelwrapper import ModelWrapper

    from brevitas_defakeq import UserError
    from hw.boards import board_named
    from hw.finn_quirks import quiet_finn
    from hw.folding import fold_to_device_

    graph = ModelWrapper(str(built[0] / "steps" / "07_specialize.onnx"))
    with quiet_finn(), pytest.raises(UserError, match="too small for the network, .* lut of 700"):
        fold_to_device_(graph, replace(board_named("Pynq-Z1"), lut=1_000))


def test_a_changed_profile_starts_anew(cnn, built, tmp_path):
    from qonnx.core.modelwrapper import ModelWrapper

    changed = ModelWrapper(str(cnn[0]))
    bias = next(name for name in (each.name for each in changed.graph.initializer) if "bias" in name.lower()
                or changed.get_initializer(name).shape == (1,))  # fmt: skip
    changed.set_initializer(bias, changed.get_initializer(bias) + np.float32(0.5))
    changed.save(str(tmp_path / "model.onnx"))
    build, _ = run(tmp_path / "model.onnx", built[0], fps=1000.0)
    assert build.resumed == []


def test_the_command_reports_and_resumes_after_an_interrupt(cnn, build, tmp_path):
    import shutil

    shutil.copy(cnn[0], tmp_path / "model.onnx")
    (tmp_path / "host.json").write_text(
        json.dumps({"input": {"scale": 0.1}, "output": {}, "format_version": 1})
    )
    arguments = ("model.onnx", "--target", "estimate", "--board", "Pynq-Z1", "--out", "out", "--fps", "500")
    from repository import ROOT

    process = subprocess.Popen(
        [sys.executable, str(ROOT / "hw" / "build.py"), *arguments],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "out" / "steps" / "03_streamline.onnx").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert errors.strip().splitlines()[-1] == (
        "hw/build.py: interrupted; run the same command again to resume at this step"
    )
    before = (tmp_path / "out" / "steps" / "01_tidy.onnx").stat().st_mtime_ns
    outcome = build(*arguments, "--json")
    assert outcome.status == 0, outcome.errors
    assert (tmp_path / "out" / "steps" / "01_tidy.onnx").stat().st_mtime_ns == before
    report = json.loads(outcome.output)
    assert report == json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["frames_per_second"] >= 500 and report["nodes"]["total"] == report["nodes"]["mapped"]
    assert json.loads((tmp_path / "out" / "host.json").read_text())["input"] == {
        "scale": 0.1,
        "layout": "NHWC",
    }


def test_torch_is_never_imported(cnn, tmp_path):
    """In a fresh process, through all steps and the report."""
    from repository import ROOT

    code = (
        "import sys; from hw.build import main; "
        f"status = main([{str(cnn[0])!r}, '--target', 'estimate', '--board', 'Pynq-Z1', '--out', 'out']); "
        "sys.exit(status or 10 * ('torch' in sys.modules or 'brevitas' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=_environment(ROOT), check=False)
    assert done.returncode == 0


def _environment(root):
    import os

    return {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
