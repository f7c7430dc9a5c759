"""The two designs: their hardware scores faces as the fake-quantized model does, and keeps its baseline."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

import brevitas_defakeq
from brevitas_defakeq.data.procedural import draw_many
from brevitas_defakeq.nn.module_tree import copy_module

DESIGNS = Path(__file__).resolve().parents[2] / "hw" / "designs"
NAMES = ("chain", "encoder")
#: Seed and number of the faces that `samples.npz` speaks of; `hw.designs` draws its test faces so.
SEED, COUNT, SIZE = 22, 64, 64


@pytest.fixture(scope="module")
def drawn():
    """Faces that no training saw, uint8 [64, 64, 64, 3], and their labels."""
    faces = draw_many(COUNT, seed=SEED, size=SIZE)
    return np.stack([face.image for face in faces]), np.array([face.label for face in faces])


def fake_quantized(name: str, images: np.ndarray, monkeypatch) -> tuple[np.ndarray, np.ndarray]:
    """Logits of the run's M_q, by torch, one image at a time: in float32, and in float64.

    In float32 a sum between two codes falls by the order of its terms; hardware has no such order.
    """
    monkeypatch.syspath_prepend(DESIGNS.parents[1])
    run = brevitas_defakeq.load(DESIGNS / name / "run")
    tensors = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25
    exact = copy_module(run.quantized).double()
    with torch.no_grad():
        single = torch.cat([run.quantized(image[None])[0] for image in tensors]).double().numpy()
        return single, torch.cat([exact(image[None].double())[0] for image in tensors]).numpy()


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_those_of_the_run(name, drawn, monkeypatch):
    """`samples.npz` against the run and freshly drawn faces; needs no FINN."""
    images, labels = drawn
    samples = np.load(DESIGNS / name / "samples.npz")
    assert (samples["labels"] == labels).all() and (samples["images"] == images[:2]).all()
    assert (DESIGNS / name / "samples.npz").stat().st_size < 40_000
    _, logits = fake_quantized(name, images, monkeypatch)
    assert np.abs(samples["logits"] - logits).max() <= 1e-5 * np.ptp(logits)
    host = json.loads((DESIGNS / name / "host.json").read_text())
    back = samples["integers"] * host["output"]["scale"][0] + host["output"]["bias"]
    assert np.abs(back - logits[:2]).max() <= 1e-5 * np.ptp(logits)
    assert roc_auc_score(labels, logits) > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_folders_are_complete(name):
    folder = DESIGNS / name
    text = (folder / "README.md").read_text()
    for file in ("model.onnx", "host.json", "samples.npz", "baseline.json", "run/report.json"):
        assert (folder / file).is_file() and (file in text or file.startswith("run/"))
    kept = json.loads((folder / "baseline.json").read_text())["figures"]
    assert set(kept) == {"cycles", "lut", "bram18", "dsp", "weight_bits", "auc"}
    assert f"{kept['cycles']['value']:,} cycles" in text, "the page is the baseline's"
    report = json.loads((folder / "run" / "report.json").read_text())
    assert len(set(report["bits"].values())) >= 3, "widths are mixed"


# ------------------------------------------------------------------------------------------ with FINN


@pytest.fixture(scope="module")
def hardware():
    """``hardware(name)``: the hardware graph of a design, converted once."""
    done = {}

    def get(name: str):
        from hw.finn_quirks import quiet_finn
        from hw.read_profile import read_profile
        from hw.steps import to_hardware

        if name not in done:
            with quiet_finn():
                done[name] = to_hardware(read_profile(DESIGNS / name / "model.onnx"))
        return done[name]

    return get


def run_hardware(graph, host, images: np.ndarray) -> np.ndarray:
    """Logits by FINN's execution of its layers in Python."""
    from qonnx.core.onnx_exec import execute_onnx

    from hw.finn_quirks import quiet_finn

    name, output = graph.graph.input[0].name, graph.graph.output[0].name
    with quiet_finn():
        return np.array([
            host.logit(execute_onnx(graph, {name: host.integers(image / np.float32(255))})[output])
            for image in images
        ])  # fmt: skip


@pytest.mark.fpga
@pytest.mark.parametrize("name", NAMES)
def test_hardware_scores_faces_as_the_fake_quantized_model(name, hardware, drawn, monkeypatch):
    from hw.host import Host

    images, labels = drawn
    single, exact = fake_quantized(name, images, monkeypatch)
    found = run_hardware(hardware(name), Host(DESIGNS / name / "host.json"), images)
    assert np.abs(found - exact).max() <= 1e-5 * np.ptp(exact)
    apart = np.abs(found - single) / np.ptp(single)
    assert (apart <= 1e-5).sum() >= COUNT - 3 and apart.max() < 1e-3
    assert roc_auc_score(labels, found) == roc_auc_score(labels, exact) == roc_auc_score(labels, single)
    kept = json.loads((DESIGNS / name / "baseline.json").read_text())["figures"]["auc"]
    assert abs(roc_auc_score(labels, found) - kept["value"]) <= kept["tolerance"] * kept["value"]


@pytest.mark.fpga
@pytest.mark.parametrize("name", NAMES)
def test_the_build_keeps_its_baseline(name, hardware, tmp_path):
    from hw.boards import board_named
    from hw.build_report import build_report
    from hw.designs.baseline import baseline_metrics, baseline_violations
    from hw.finn_quirks import quiet_finn
    from hw.steps import run_step

    kept = json.loads((DESIGNS / name / "baseline.json").read_text())
    board = board_named(kept["board"])
    (tmp_path / "partition").mkdir()
    with quiet_finn():
        graph = run_step("partition", hardware(name), tmp_path / "partition")
        graph = run_step("specialize", graph, board)
        graph = run_step("decompose", run_step("fold", graph, board, kept["fps"]), board)
        report = build_report(graph, board, target="estimate", wanted_fps=kept["fps"], verified={})
    assert baseline_violations(baseline_metrics(report, kept["figures"]["auc"]["value"]), kept) == []
    assert report["frames_per_second"] >= kept["fps"]


@pytest.mark.fpga
def test_every_node_of_the_chain_has_rtl(hardware):
    """Asked for RTL, FINN gives it for every node; it fits an ECP5-85's memory, with some left."""
    from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.custom_op.registry import getCustomOp

    from hw.boards import board_named
    from hw.estimate import stored_bits
    from hw.finn_quirks import quiet_finn

    with quiet_finn():
        graph = ModelWrapper(hardware("chain").model, make_deepcopy=True)
        for node in graph.graph.node:
            getCustomOp(node).set_nodeattr("preferred_impl_style", "rtl")
        graph = graph.transform(SpecializeLayers(board_named("Pynq-Z1").part))
        kinds = [node.op_type for node in graph.graph.node]
        bits = sum(stored_bits(getCustomOp(node)) for node in graph.graph.node)
    assert all(kind.endswith("_rtl") for kind in kinds), kinds
    assert {kind.removesuffix("_rtl") for kind in kinds} == {
        "FMPadding",
        "ConvolutionInputGenerator",
        "MVAU",
        "Thresholding",
    }
    assert all(len(graph.find_direct_successors(node) or []) <= 1 for node in graph.graph.node), "a chain"
    assert bits < 3.7e6 / 4


def test_departures_from_a_baseline():
    from hw.designs.baseline import TOLERANCES, baseline, baseline_metrics, baseline_violations

    report = {
        "board": "b", "wanted_fps": 5, "cycles": 10, "versions": {},
        "totals": {"lut": 100, "bram18": 20, "dsp": 3, "weight_bits": 50},
    }  # fmt: skip
    kept = baseline(report, 0.9)
    assert (
        set(kept["figures"]) == set(TOLERANCES)
        and baseline_violations(baseline_metrics(report, 0.9), kept) == []
    )
    worse = {**report, "cycles": 11, "totals": {**report["totals"], "lut": 106, "bram18": 21, "dsp": 2}}
    assert baseline_violations(baseline_metrics(worse, 0.8), kept) == [
        "cycles is 11, the baseline 10 within 0 %", "lut is 106, the baseline 100 within 5 %",
        "dsp is 2, the baseline 3 within 0 %", "auc is 0.8, the baseline 0.9 within 0.5 %",
    ]  # fmt: skip
