"""The commands as people run them: what is printed where, what is written, that options arrive."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from brevitas_defakeq.runtime import predict

BACKBONES = {"deit_tiny", "deit_small", "deit_base", "vit_small", "vit_base", "swin_small", "swin_base"}
LAYERS = {
    "stem.0": [8, 3, 3, 3], "stem.3": [16, 8, 3, 3], "block.attn.qkv": [48, 16], "block.attn.proj": [16, 16],
    "block.mlp.fc1": [32, 16], "block.mlp.fc2": [16, 32], "head": [1, 16],
}  # fmt: skip


def read(folder, name):
    return json.loads((folder / "run" / name).read_text())


# ------------------------------------------------------------------------------------------ the command


def test_as_a_module(tmp_path):
    command = [sys.executable, "-m", "brevitas_defakeq", "--version"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, version("brevitas-defakeq") + "\n", "")


def test_help(workplace):
    alone, asked = workplace(), workplace("--help")
    assert alone == asked and alone.status == 0 and alone.errors == ""
    for command in ("demo", "quantize", "inspect", "evaluate", "detectors"):
        assert re.search(rf"^  {command} ", alone.output, re.MULTILINE)
    options = workplace("quantize", "--help")
    assert options.status == 0
    for option in (
        "--weights", "--calibration", "--average-bits", "--out", "--recipe", "--candidate-bits",
        "--activation-bits", "--target", "--samples", "--iterations", "--test", "--input-size", "--mean",
        "--std", "--seed", "--model-arg", "--output", "--fake-index", "--feature", "--cache-memory",
        "--threads", "--json",
    ):  # fmt: skip
        assert option in options.output, option


def test_an_unexpected_error_is_one_line(workplace):
    """Its type, what to do about it, status 1; the traceback with --debug only."""
    (workplace.folder / "odd_detector.py").write_text(
        "from torch import nn\n"
        "class Odd(nn.Linear):\n"
        "    def train(self, mode=True):\n"
        "        return 1 / 0\n"
        "def build():\n"
        "    return Odd(1, 1), {'input_size': 8, 'mean': 0.5, 'std': 0.5}\n"
    )
    outcome = workplace("inspect", "odd_detector:build")
    assert outcome.status == 1 and outcome.output == ""
    line = outcome.one_line()
    assert line.startswith("unexpected ZeroDivisionError: division by zero") and "issue tracker" in line
    outcome = workplace("--debug", "inspect", "odd_detector:build")
    assert outcome.status == 1 and "Traceback" in outcome.errors and "return 1 / 0" in outcome.errors
    assert outcome.errors.endswith(f"defakeq: {line}\n")


def test_detectors(workplace):
    outcome = workplace("detectors", "--json")
    rows = {row["name"]: row for row in outcome.json()["detectors"]}
    assert set(rows) >= BACKBONES | {"demo"}
    assert 5.4e6 < rows["deit_tiny"]["parameters"] < 5.8e6 and 86e6 < rows["swin_base"]["parameters"] < 90e6
    assert rows["vit_base"]["input_size"] == [224, 224]
    assert "deit_tiny" in outcome.errors, "the table goes to standard error"


# ------------------------------------------------------------------------------------------ quantize


def test_quantize_prints_its_report(finished):
    printed = json.loads((finished.folder / "quantize.json").read_text())
    assert printed == read(finished.folder, "report.json")
    assert printed["detector"]["name"] == "tiny_detector:build"
    assert (
        printed["preprocessing"]["input_size"] == [16, 16] and printed["preprocessing"]["mean"] == [0.5] * 3
    )
    assert printed["average_bits"] <= 3
    for variant, name in (("quantized", "weights.safetensors"), ("mixed", "mixed.safetensors")):
        assert printed["size_bytes"][variant] == (finished.folder / "run" / name).stat().st_size


def test_tables_and_progress_stay_out_of_the_way(workplace):
    """Without --json the table is all; with it, standard error has the table and no bars in a file."""
    outcome = workplace.quantize("--test", "others", "--samples", 32, iterations=0)
    assert outcome.status == 0
    assert outcome.errors == "WARNING: 24 calibration images, fewer than the 32 asked for\n"
    for word in ("DeFakeQ (M_q)", "round to nearest", "AUC", "kB", "flips", "flips: verdicts that change"):
        assert word in outcome.output
    metrics = workplace("evaluate", "run", "--data", "others", "--json")
    assert set(metrics.json()) >= {"auc", "n"} and "24 images" in metrics.errors


def test_options_arrive(workplace):
    outcome = workplace(
        "quantize", "tiny_detector:build", "--calibration", "faces/real", "--out", "run", "--recipe", "paper",
        "--average-bits", 1.8, "--candidate-bits", "1.6,2,4", "--activation-bits", 0, "--target", "mobile",
        "--samples", 9, "--iterations", 1, "--seed", 3, "--input-size", 16, "--mean", "0.4,0.5,0.6",
        "--std", 0.2, "--interpolation", "bicubic", "--output", "softmax", "--fake-index", 0,
        "--feature", "block",
        "--model-arg", "head=two", "--model-arg", "seed=2", "--threads", 1, "--cache-memory", "10MB",
    )  # fmt: skip
    assert outcome.status == 0, outcome.errors
    settings, report = read(workplace.folder, "config.json"), read(workplace.folder, "report.json")
    config = settings["config"]
    expected = {
        "recipe": "paper", "average_bits": 1.8, "candidate_bits": [1.6, 2, 4], "activation_bits": None,
        "target": "mobile", "samples": 9, "seed": 3,
    }  # fmt: skip
    assert {key: config[key] for key in expected} == expected
    assert config["reconstruction"]["iterations"] == 1 and config["veft"]["enabled"]
    assert settings["preprocessing"] == {
        "input_size": [16, 16], "interpolation": "bicubic", "mean": [0.4, 0.5, 0.6], "std": [0.2] * 3,
            "fit": "stretch",
    }  # fmt: skip
    assert settings["output"] == {"kind": "softmax", "fake_index": 0, "key": None}
    assert settings["feature"] == {"path": "block", "side": "output"}
    assert settings["detector"]["model_args"] == {"head": "two", "seed": 2}
    assert report["calibration"]["count"] == 9 and report["average_bits"] <= 1.8
    assert report["provenance"]["threads"] == 1 and report["activation_bits"] is None
    assert set(settings["bits"].values()) <= {1.6, 2, 4}


def test_random_weights_are_refused_unless_asked_for(workplace):
    """A table of an untrained network looks like one of a detector."""
    quantize = (
        "quantize", "test_efficientnet", "--input-size", 32, "--calibration", "faces", "--samples", 8,
        "--out", "run", "--iterations", 1, "--average-bits", 8,
    )  # fmt: skip
    refused = workplace(*quantize)
    assert refused.status == 2 and not (workplace.folder / "run").exists()
    assert refused.one_line().startswith("test_efficientnet has random weights; give a trained checkpoint")
    state = workplace.folder / "run" / ".unfinished" / "state.json"
    killed = workplace(*quantize, "--random-weights", kill_when=[state])
    assert killed.status < 0 and state.exists()
    done = workplace(*quantize, "--random-weights")  # the same network again, so the run goes on
    assert done.status == 0, done.errors
    assert "test_efficientnet has random weights: every metric of this run is meaningless" in done.errors
    assert "the detector's weights are random" in " ".join(done.output.split())
    assert read(workplace.folder, "report.json")["detector"]["untrained"] is True
    inspected = workplace("inspect", "test_efficientnet", "--input-size", 32)
    assert "its weights are random" in " ".join(inspected.output.split())
    assert "random" not in workplace("inspect", "run", "--json").json()


def test_names_left_out_are_counted_and_left_out_again(workplace, tiny):
    """By the run, by inspect and by the float detector of a later evaluation."""
    state = tiny.model(seed=5).state_dict()
    torch.save({"model": state, "model_ema": {name: tensor / 2 for name, tensor in state.items()},
                "criterion": {"weight": torch.ones(2)}}, workplace.folder / "trained.pth")  # fmt: skip
    weights = ("--weights", "trained.pth", "--ignore-keys", "model_ema", "--ignore-keys", "head.*")
    refused = workplace.quantize(*weights)
    assert refused.status == 2 and "2 missing: head.weight, head.bias" in refused.one_line()
    outcome = workplace.quantize(*weights[:4], iterations=0)
    assert outcome.status == 0 and "averaged" not in outcome.errors, outcome.errors
    assert read(workplace.folder, "report.json")["detector"]["dropped"] == {"model_ema": 1}
    inspected = workplace("inspect", "tiny_detector:build", *weights[:4])
    assert "left out of the checkpoint: model_ema (1)" in " ".join(inspected.output.split())
    torch.save(state, workplace.folder / "raw.pth")
    evaluate = ("evaluate", "run", "--which", "float", "--data", "others", "--json", "--weights")
    trained, raw = (workplace(*evaluate, file) for file in ("trained.pth", "raw.pth"))
    assert trained.json() == raw.json() and "averaged" not in trained.errors, trained.errors


def test_little_memory_gives_the_same_result(finished, workplace):
    """Captured activations on disk instead of in memory; the same bits and bytes."""
    outcome = workplace.quantize("--weights", finished.folder / "tiny.pth", "--cache-memory", "1KB")
    assert outcome.status == 0, outcome.errors
    for name in ("weights.safetensors", "mixed.safetensors"):
        found = (workplace.folder / "run" / name).read_bytes()
        assert found == (finished.folder / "run" / name).read_bytes(), name


# ------------------------------------------------------------------------------------------ evaluate


def float_scores(tiny, folder):
    """Labels and logits of the float detector on ``faces``, read without the package."""
    labels, scores = [], []
    for label, name in enumerate(("real", "fake")):
        for file in sorted((folder / "others" / name).iterdir()):
            pixels = np.asarray(Image.open(file).convert("RGB").resize((16, 16), Image.Resampling.BILINEAR))
            tensor = (torch.from_numpy(pixels / 255.0).float().permute(2, 0, 1) - 0.5) / 0.25
            with torch.no_grad():
                scores.append(float(tiny.model(seed=5)(tensor[None])))
            labels.append(label)
    return np.array(labels), np.array(scores)


def test_evaluate_float_agrees_with_scikit_learn(finished, tiny):
    found = finished(
        "evaluate", "run", "--data", "others", "--which", "float", "--weights", "tiny.pth", "--json"
    ).json()
    labels, scores = float_scores(tiny, finished.folder)
    assert {"auc", "auc_interval", "accuracy", "eer", "ap", "n", "per_dataset"} <= set(found)
    assert found["n"] == 24
    assert found["auc"] == pytest.approx(roc_auc_score(labels, scores))
    assert found["ap"] == pytest.approx(average_precision_score(labels, scores))
    assert found["accuracy"] == pytest.approx(np.mean((scores > 0) == labels))
    assert found["auc"] == read(finished.folder, "report.json")["metrics"]["float"]["auc"]


def test_evaluate_repeats_the_metrics_of_the_report(finished):
    """From the folder, and from the detector in memory when the report was made."""
    found = finished("evaluate", "run", "--data", "others", "--which", "mixed", "--json").json()
    wanted = alone(read(finished.folder, "report.json")["metrics"]["mixed"])
    assert found["form"] == "mixed" and found["forms"] == {"mixed": wanted}
    assert {key: found[key] for key in wanted} == wanted


def alone(metrics):
    """Without what only a float detector beside it can tell."""
    if not isinstance(metrics, dict):
        return metrics
    return {key: alone(value) for key, value in metrics.items() if key not in ("fidelity", "drop")}


def test_an_exported_file_is_evaluated_and_timed(finished):
    card = finished("export", "run", "--out", "pixels", "--pixels", "--data", "faces", "--json").json()
    assert card["input"]["dtype"] == "uint8" and card["output"]["kind"] == "probability"
    assert card["provenance"]["agreement"]["images"] == 24
    reported = read(finished.folder, "report.json")["metrics"]["quantized"]["fidelity"]
    assert card["auc"]["fidelity"] == reported and reported["flips"]["n"] == 24
    model = finished.folder / "pixels" / "model.onnx"
    verdicts = predict(model, sorted((finished.folder / "faces").rglob("*.png")))
    assert len(verdicts) == 24 and all(0 <= verdict.fake_probability <= 1 for verdict in verdicts)
    found = finished("evaluate", model, "--data", "faces", "--latency", "--json").json()
    inside = finished("evaluate", "run", "--data", "faces", "--json").json()
    assert found["auc"] == pytest.approx(inside["auc"], abs=0.03) and found["n"] == 24
    assert found["latency"]["files"][0]["median_ms"] > 0


@pytest.mark.slow
def test_the_float_file_to_compare_with(finished):
    card = finished(
        "export", "run", "--out", "float", "--which", "float", "--weights", "tiny.pth", "--data", "faces",
        "--json",
    ).json()  # fmt: skip
    assert card["provenance"]["agreement"]["difference"] < 1e-4 and card["bits"] == {}
    finished("export", "run", "--out", "small", "--data", "faces")
    arguments = "evaluate", "small/model.onnx", "--latency", "--against", "float/model.onnx", "--json"
    files = finished(*arguments).json()["latency"]["files"]
    assert [file["path"] for file in files] == ["float/model.onnx", "small/model.onnx"]
    assert files[0]["ratio"] == 1 and all(file["median_ms"] > 0 for file in files)
    found = finished("evaluate", "small/model.onnx", "--data", "others", *arguments[3:]).json()
    flips = found["forms"]["exported"]["fidelity"]["flips"]
    reported = read(finished.folder, "report.json")["metrics"]["quantized"]["fidelity"]["flips"]
    assert flips["n"] == 24 and abs(flips["count"] - reported["count"]) <= 1, "the file rounds ties otherwise"


def test_evaluate_a_csv(finished):
    """All images, named in a table with videos and data sets."""
    rows = ["path,label,video,dataset"]
    for label in ("real", "fake"):
        rows += [f"others/{label}/{i:02d}.png,{label},v{i // 2},{'ab'[i // 2 % 2]}" for i in range(12)]
    (finished.folder / "test.csv").write_text("\n".join(rows))
    found = finished("evaluate", "run", "--data", "test.csv", "--json").json()
    assert found["auc"] == read(finished.folder, "report.json")["metrics"]["quantized"]["auc"]
    assert found["n"] == 24
    assert {name: row["n"] for name, row in found["per_dataset"].items()} == {"a": 12, "b": 12}
    assert 0 <= found["video_auc"] <= 1


# ------------------------------------------------------------------------------------------ inspect


def test_inspect_a_detector(finished):
    outcome = finished("inspect", "tiny_detector:build", "--iterations", 6, "--samples", 24, "--json")
    found, report = outcome.json(), read(finished.folder, "report.json")
    assert {row["name"]: row["shape"] for row in found["layers"]} == LAYERS
    assert all(row["bits"] is None and row["calls"] == 1 for row in found["layers"])
    assert sum(row["share"] for row in found["layers"]) == pytest.approx(1)
    macs = {row["name"]: row["macs"] for row in found["layers"]}
    assert macs["stem.0"] == 8 * 27 * 64 and macs["block.attn.qkv"] == 48 * 16 * 16 and macs["head"] == 16
    assert found["attention"] == ["block.attn"] and found["left_float"] == report["left_float"]
    assert found["size_bytes"]["float"] == report["size_bytes"]["float"]
    assert found["size_bytes"]["expected"] == pytest.approx(report["size_bytes"]["quantized"], rel=0.25)
    assert found["expected_passes"] == pytest.approx(report["forward_passes"], rel=0.5)
    assert found["expected_seconds"] > 0
    assert "block.mlp.fc2" in outcome.errors


def test_inspect_passes_model_arguments_on(finished):
    found = finished("inspect", "tiny_detector:build", "--model-arg", "head=two", "--json").json()
    assert {row["name"]: row["shape"] for row in found["layers"]}["head"] == [2, 16]


def test_inspect_a_run(finished):
    outcome = finished("inspect", "run", "--json")
    found, report = outcome.json(), read(finished.folder, "report.json")
    assert {row["name"]: row["bits"] for row in found["layers"]} == report["bits"]
    assert found["size_bytes"] == report["size_bytes"] and found["input_size"] == [16, 16]
    table = finished("inspect", "run")
    assert table.errors == "" and "tiny_detector:build" in table.output


@pytest.mark.slow
def test_a_factory_from_the_python_path(finished, workplace):
    """Not in the working folder; a real process, since the path is read when Python starts."""
    (workplace.folder / "elsewhere").mkdir()
    command = [sys.executable, "-m", "brevitas_defakeq", "inspect", "tiny_detector:build", "--json"]
    done = subprocess.run(
        command, cwd=workplace.folder / "elsewhere", capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(finished.folder), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["layers"]) == len(LAYERS)
