"""The peers' harness: environments are found again by what they need, rows hold what a tool did or said."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import timm
import torch
from timm.layers import BatchNormAct2d, Conv2dSame
from torch import nn

from benchmarks.peers import environments
from benchmarks.peers.__main__ import BY_HAND, arguments, keep_row, peer, vehicle_folder
from benchmarks.peers.environments import REQUIREMENTS, environment, environment_folder
from benchmarks.peers.exchange import IMAGES, Made, Peer, serve
from benchmarks.peers.latency import interleaved, latencies
from benchmarks.peers.rows import float_row, last_line, peer_row, run_script, scores
from benchmarks.peers.tools.coreai import packed, widths_within
from benchmarks.peers.tools.litert import from_integer, to_integer
from benchmarks.peers.vehicle_files import with_torchs_layers, write_vehicle
from benchmarks.suite.faces import QUICK
from benchmarks.suite.material import Material
from brevitas_defakeq.calibration_set import from_tensors
from brevitas_defakeq.data.labelled_set import LabelledSet
from brevitas_defakeq.detectors.resolve import Detector
from brevitas_defakeq.utils.errors import UserError

SIZE, MINUTES = 16, 10


def material_of(network, images, labels):
    """The network with 16 calibration images; the first test images are a part."""
    calibration = from_tensors(torch.randn(16, 3, SIZE, SIZE), None, 16)
    test = LabelledSet.from_tensors(images, labels)
    return Material(Detector(network, "tiny", None), calibration, test, {"a/b": np.arange(len(images)) < 20})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A detector of a convolution and a matrix, 16 calibration and 40 test images."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(3), nn.Flatten(),
        nn.Linear(32, 1),
    ).eval()  # fmt: skip
    images = torch.randn(40, 3, SIZE, SIZE)
    with torch.no_grad():
        network[-1].bias -= network(images).median()
        labels = (network(images)[:, 0] + 0.05 * torch.randn(40) > 0).long()
    folder = tmp_path_factory.mktemp("peers") / "tiny"
    write_vehicle(material_of(network, images, labels), folder)
    return folder


def test_float_file_is_the_module(folder):
    network = torch.load(folder / "float.pt", weights_only=False)
    images = np.load(folder / IMAGES / "test.npy")
    with torch.no_grad():
        wanted = network(torch.from_numpy(images)).numpy()[:, 0]
    np.testing.assert_allclose(scores(folder / "float.onnx", folder / IMAGES), wanted, atol=1e-5)
    row = float_row(folder)
    assert row["metrics"]["auc_kept"] == 1 and row["metrics"]["fidelity"]["flips"]["count"] == 0
    assert row["metrics"]["parts"]["a/b"]["fidelity"]["flips"]["n"] == 20
    assert row["bytes"] == (folder / "float.onnx").stat().st_size


def test_two_classes_are_refused(tmp_path):
    two_classes = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE**2, 2))
    with pytest.raises(UserError, match="does not give the module's logits"):
        write_vehicle(material_of(two_classes, torch.randn(2, 3, SIZE, SIZE), [0, 1]), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_tools_are_given_layers_that_they_know():
    detector = timm.create_model("mobilenetv2_035", num_classes=1, pad_type="same", bn_eps=1e-3).eval()
    image = torch.randn(1, 3, 48, 40)
    plain = with_torchs_layers(detector, image)
    foreign = {type(module) for module in plain.modules()} & {Conv2dSame, BatchNormAct2d}
    assert not foreign and any(isinstance(module, Conv2dSame) for module in detector.modules())
    with torch.no_grad():
        torch.testing.assert_close(plain(image), detector(image))


def test_files_are_found_again_by_weights_and_images(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE**2, 1))
    given = material_of(network, torch.randn(4, 3, SIZE, SIZE), [0, 1, 0, 1])
    first = vehicle_folder("tiny", given, QUICK)
    written = (first / "float.onnx").stat().st_mtime_ns
    assert vehicle_folder("tiny", given, QUICK) == first
    assert (first / "float.onnx").stat().st_mtime_ns == written
    network[1].bias.data += 1
    assert vehicle_folder("tiny", given, QUICK) != first


def test_static_int8_for_real(folder):
    row = peer_row("onnxruntime", "static_int8", folder, MINUTES)
    file = folder / "onnxruntime" / "static_int8" / "model.onnx"
    types = {tensor.data_type for tensor in onnx.load(file).graph.initializer}
    assert onnx.TensorProto.INT8 in types
    assert row["bytes"] == file.stat().st_size
    assert 0 < row["metrics"]["relative_error"] < 0.1
    assert row["metrics"]["auc_kept"] > 0.95
    assert row["versions"]["onnx"] == onnx.__version__


def test_dynamic_int8_for_real(folder):
    row = peer_row("onnxruntime", "dynamic_int8", folder, MINUTES)
    assert 0 < row["metrics"]["relative_error"] < 0.05


def test_a_tools_refusal_is_a_row(folder):
    row = peer_row("onnxruntime", "int4", folder, MINUTES)
    assert row["refused"].startswith("ValueError: MatMulNBitsQuantizer changed nothing")
    assert "bytes" not in row


def test_a_tool_that_cannot_be_installed_is_a_row(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    said = "WARNING: x\nERROR: No matching distribution found for mnn==3.6.1\n"
    answer = subprocess.CompletedProcess([], 1, "", said)
    monkeypatch.setattr(environments.subprocess, "run", lambda command, **named: answer)
    row = peer_row("mnn", "w8", folder, MINUTES)
    assert row == {
        "tool": "mnn", "method": "w8",
        "refused": "cannot be installed: No matching distribution found for mnn==3.6.1",
    }  # fmt: skip
    assert not (environment_folder("mnn") / ".complete").exists()


def test_a_script_that_dies_is_named(folder):
    with pytest.raises(UserError, match=r"ended with status 1: .*unheard_of"):
        run_script(Path(sys.executable), "unheard_of", "w8", folder, MINUTES)


def test_a_script_that_hangs_is_ended(folder):
    with pytest.raises(UserError, match=r"did not end in 0\.0001 minutes; it said last: nothing"):
        run_script(Path(sys.executable), "onnxruntime", "static_int8", folder, 0.0001)


def test_the_last_state_of_a_progress_bar_is_read():
    assert last_line("loaded\n 10 %\r 20 %\r\n") == "20 %"


def test_a_script_writes_what_its_method_made(tmp_path, monkeypatch):
    def method(given):
        (given.out / "file").write_bytes(b"abc")
        return Made(["file"], "3", "float", "own", np.array([[1.0], [2.0]]), "a note")

    monkeypatch.setattr(sys, "argv", ["script", str(tmp_path), "w3"])
    monkeypatch.chdir(tmp_path)
    serve("tool", Peer(("numpy",), {"w3": method}))
    result = json.loads((tmp_path / "tool" / "w3" / "result.json").read_text())
    assert result.pop("seconds") >= 0
    assert result == {
        "versions": {"numpy": np.__version__}, "files": ["file"], "weights": "3", "activations": "float",
        "runtime": "own", "note": "a note",
    }  # fmt: skip
    assert np.load(tmp_path / "tool" / "w3" / "logits.npy").tolist() == [1, 2]


def test_environments_are_named_by_what_they_need(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = environment_folder("nncf", tmp_path)
    assert folder == environment_folder("nncf", tmp_path)
    assert folder.is_relative_to(tmp_path / "brevitas_defakeq") and folder.name.startswith("peer-nncf-")
    assert folder != environment_folder("nncf", tmp_path / "other")
    monkeypatch.setitem(REQUIREMENTS, "nncf", ("nncf==3.3.0",))
    assert folder != environment_folder("nncf", tmp_path)


def test_an_environment_is_made_once_and_sees_the_base(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(REQUIREMENTS, "tiny", ("tiny==1",))
    installed = []
    monkeypatch.setattr(environments, "_install", lambda python, wanted: installed.append(wanted))
    python = environment("tiny")
    assert environment("tiny") == python and installed == [("tiny==1",)]
    seen = subprocess.run(
        [str(python), "-c", "import numpy; print(numpy.__file__)"], capture_output=True, text=True, check=True
    ).stdout.strip()  # fmt: skip
    assert Path(seen) == Path(np.__file__)
    (environment_folder("tiny") / ".complete").unlink()
    environment("tiny")
    assert len(installed) == 2, "an environment without its marker is made again"


def test_a_tool_without_requirements_runs_here():
    assert environment("onnxruntime") == Path(sys.executable)


@pytest.mark.parametrize("tool", REQUIREMENTS)
def test_each_tool_has_methods_and_pinned_requirements(tool):
    assert peer(tool).methods
    assert all("==" in requirement for requirement in REQUIREMENTS[tool])


def test_a_row_is_kept(tmp_path):
    made = []

    def make():
        made.append(1)
        return {"tool": "a", "method": "b", "refused": "no"}

    for _ in range(2):
        keep_row(tmp_path / "demo.a.b.json", make, {"vehicle": "demo"})
    assert made == [1]
    assert json.loads((tmp_path / "demo.a.b.json").read_text())["vehicle"] == "demo"


def test_what_runs_by_hand_is_left_out(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["peers"])
    assert set(arguments().tools) == set(REQUIREMENTS) - set(BY_HAND)
    monkeypatch.setattr(sys, "argv", ["peers", "nncf", "other"])
    with pytest.raises(SystemExit):
        arguments()
    assert "other: choose of onnxruntime" in capsys.readouterr().err


def test_files_take_turns():
    order = []
    times = interleaved({name: lambda name=name: order.append(name) for name in "ab"}, count=3, warmup=1)
    assert "".join(order) == "abababab"
    assert 0 <= times["a"]["p10_ms"] <= times["a"]["median_ms"] <= times["a"]["p90_ms"]


def test_a_file_that_cannot_be_timed_is_named(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.peers.latency._RUNS", 2)
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    files = {"float": str(folder / "float.onnx"), "broken": str(tmp_path / "broken.onnx")}
    found = latencies(files, np.load(folder / IMAGES / "test.npy")[:1])
    assert found["times"]["float, onnxruntime"]["median_ms"] > 0
    assert found["other_work"] is None or -0.5 < found["other_work"] < os.cpu_count()
    assert "cannot load" in found["failed"]["broken, onnxruntime"]


def test_mixed_widths_have_the_least_common_error_that_fits():
    sizes = {"small": 10, "large": 100}
    errors = {
        ("small", 2): 9.0, ("small", 4): 1.0, ("small", 6): 0.1,
        ("large", 2): 0.5, ("large", 4): 0.2, ("large", 6): 0.05,
    }  # fmt: skip
    # limits: .05 -> 6, 6; .1 -> 6, 6; .2 -> 6, 4 = 460; .5 -> 6, 2 = 260; 1 -> 4, 2 = 240
    assert widths_within(errors, sizes, 4.2) == {"small": 6, "large": 4}
    assert widths_within(errors, sizes, 4.0) == {"small": 6, "large": 2}
    assert widths_within(errors, sizes, 2.2) == {"small": 4, "large": 2}
    assert widths_within(errors, sizes, 1.0) == {"small": 2, "large": 2}


def test_indices_are_packed_at_their_width():
    assert packed(np.array([[1, 2], [3, 0]]), 2).tolist() == [0b00111001]
    assert len(packed(np.zeros(10), 6)) == 8  # 60 bits


def test_litert_integers_stand_for_values():
    values, tensor = np.array([[-0.5, 0.26, 40.0]], np.float32), {"quantization": (0.25, 3), "dtype": np.int8}
    integers = to_integer(values, tensor)
    assert integers.dtype == np.int8 and integers.tolist() == [[1, 4, 127]]
    assert from_integer(integers, tensor).tolist() == [[-0.5, 0.25, 31.0]]
    in_float = {"quantization": (0.0, 0), "dtype": np.float32}
    assert from_integer(to_integer(values, in_float), in_float) is values
