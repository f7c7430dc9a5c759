"""The run folder: what it holds, that loading gives back the same detector, and what damage is told as."""

import importlib
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from brevitas_defakeq import UserError, load, quantize
from brevitas_defakeq.artifact import WEIGHTS_FILES, load_float
from brevitas_defakeq.detectors import resolve
from brevitas_defakeq.evaluation.evaluate_run import evaluate
from brevitas_defakeq.quant.activation_quantizer import activation_proxies, is_shared, stored_range
from brevitas_defakeq.quant.coded_weight import read_codes
from brevitas_defakeq.quant.partial_float import weight_quantizer
from brevitas_defakeq.quant.widths import width_of
from brevitas_defakeq.storage.deflated_tensors import read_tensors, tensors_file
from brevitas_defakeq.storage.weights_index import read_by_name

FILES = {"config.json", "report.json", "weights.safetensors", "mixed.safetensors"}

#: Settings that reach every kind of tensor in a weights file.
SETTINGS = {
    "asymmetric": {"average_bits": 3},
    "three levels": {"average_bits": 1.8, "candidate_bits": (1.6, 2, 4)},
    "integer hardware": {"average_bits": 2.5, "target": "fpga"},
    "logarithmic activations": {"activation_bits": 4, "activation_quantizer": "log"},
    "equalized norms": {"activation_bits": 4, "equalize_layernorm": True},
    "float activations, channels in float": {"activation_bits": None, "mixed_channel_bits": 32},
}


@pytest.fixture(scope="module", params=SETTINGS)
def result(request, tiny, images, quick_config):
    """A run from a module that was handed over."""
    changes = {"reconstruction__iterations": 3, "final__steps": 3, **SETTINGS[request.param]}
    return quantize(tiny.model(), images, quick_config(**changes))


@pytest.fixture
def folder(tmp_path, finished):
    """A copy of a finished run that may be damaged."""
    return shutil.copytree(finished.folder / "run", tmp_path / "run")


@pytest.fixture
def importable(tiny, finished, monkeypatch):
    """The working folder is the finished run's, so that ``tiny_detector:build`` is found."""
    monkeypatch.chdir(finished.folder)


@torch.no_grad()
def answers(model, images):
    return model(images)


# ------------------------------------------------------------------------------------------ there and back


def test_saving_and_loading_gives_the_same_outputs(result, tiny, drawn, tmp_path):
    result.save(tmp_path / "run")
    again = load(tmp_path / "run", detector=tiny.model(seed=7))  # its weights do not matter
    fresh = drawn(16, seed=6)[0]
    for variant in ("quantized", "mixed"):
        first, second = getattr(result, variant), getattr(again, variant)
        assert type(second) is tiny.TinyDetector and not second.training
        assert torch.equal(answers(first, fresh), answers(second, fresh)), variant
        assert result.packed[variant].keys() == again.packed[variant].keys()
        assert all(
            torch.equal(tensor, again.packed[variant][kind])
            for kind, tensor in result.packed[variant].items()
        )
    assert not torch.equal(answers(result.quantized, fresh), answers(result.mixed, fresh))
    assert again.bits == result.bits and again.config == result.config and again.plan == result.plan
    assert again.report == json.loads(json.dumps(result.report))
    assert again.observer == result.observer and again.preprocessing is None


def test_a_second_saving_writes_the_same_bytes(result, tiny, tmp_path):
    result.save(tmp_path / "one")
    load(str(tmp_path / "one"), detector=tiny.model()).save(tmp_path / "two")
    assert {file.name for file in (tmp_path / "two").iterdir()} == FILES
    for name in FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_a_module_made_run_needs_the_module(tiny, images, quick_config, tmp_path):
    config = quick_config(reconstruction__iterations=0, final__steps=0)
    quantize(tiny.model("two"), images, config, out=tmp_path / "run")
    with pytest.raises(UserError, match="tiny_detector.TinyDetector.*load\\(folder, detector=your_module\\)"):
        load(tmp_path / "run")
    with pytest.raises(UserError, match="layer head had a weight of shape \\[2, 16\\]"):
        load(tmp_path / "run", detector=tiny.model("one"))
    with pytest.raises(UserError, match="another detector.*nothing of that name"):
        load(tmp_path / "run", detector=tiny.other())
    assert answers(load(tmp_path / "run", detector=tiny.model("two")).quantized, images).shape == (32, 2)


def test_a_named_detector_is_rebuilt(finished, importable, drawn):
    run = load("run")
    assert run.spec == {"kind": "factory", "name": "tiny_detector:build", "model_args": {}}
    assert run.preprocessing.to_dict()["std"] == [0.25, 0.25, 0.25]
    assert answers(run.quantized, drawn(4)[0]).shape == (4, 1)


def test_the_float_weights_come_from_the_checkpoint(finished, importable, tiny, images):
    run = load("run")
    original = load_float(run, "tiny.pth")
    assert torch.equal(answers(original, images), answers(tiny.model(seed=5), images))
    with pytest.raises(UserError, match="give --weights"):
        load_float(run, None)


def test_the_shipped_detector_brings_its_float_weights():
    shipped = resolve("demo")
    run = SimpleNamespace(spec=shipped.spec)
    assert torch.equal(load_float(run, None).head.weight, shipped.model.head.weight)


def test_evaluate_takes_a_run_or_its_folder(finished, importable):
    metrics = evaluate("run", "faces", variant="mixed")
    assert metrics == evaluate(load("run"), finished.folder / "faces", variant="mixed")
    with pytest.raises(UserError, match="give float_model="):
        evaluate("run", "faces", variant="float")


# ------------------------------------------------------------------------------------------ what lies there


def test_the_folder_holds_four_files_and_no_code(finished):
    folder = finished.folder / "run"
    assert {file.name for file in folder.iterdir()} == FILES
    for name in ("weights.safetensors", "mixed.safetensors"):
        tensors, _ = read_tensors(folder / name)
        codes = [kind for kind in tensors if kind.startswith("codes.")]
        assert codes and {tensors[kind].dtype for kind in codes} == {np.dtype(np.uint8)}
        assert tensors["half"].dtype == np.float16
    config = json.loads((folder / "config.json").read_text())
    assert config["format_version"] == 2
    assert set(config["bits"]) == {layer["name"] for layer in config["plan"]["layers"]}


def test_the_report_says_where_the_weights_came_from(finished):
    report = json.loads((finished.folder / "run" / "report.json").read_text())
    assert (
        report["detector"]["weights"]["file"] == "tiny.pth"
        and len(report["detector"]["weights"]["sha256"]) == 64
    )
    assert len(report["calibration"]["files"]) == 24


# ------------------------------------------------------------------------------------------ other versions


def test_a_folder_written_under_brevitas_0_13_0_gives_the_same_answers(request, monkeypatch):
    """``data_files/make_run_013x.py`` wrote the folder, and what its detector answered there."""
    data_files = request.path.parent / "data_files"
    report = json.loads((data_files / "run_013x" / "report.json").read_text())
    assert report["provenance"]["versions"]["brevitas"] == "0.13.0"
    expected = json.loads((data_files / "run_013x" / "answers.json").read_text())
    monkeypatch.chdir(data_files)
    run = load("run_013x")
    assert set(run.bits.values()) >= {1.6, 2.0, 3.0}
    questions = importlib.import_module("make_run_013x").questions()
    for variant in ("quantized", "mixed"):
        found = answers(getattr(run, variant), questions)[:, 0]
        torch.testing.assert_close(found, torch.tensor(expected[variant]), atol=1e-5, rtol=0)


# ------------------------------------------------------------------------------------------ damage


def refused(folder, match):
    with pytest.raises(UserError, match=match) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_missing_parts(folder, importable, tmp_path):
    refused(tmp_path / "nowhere", "does not exist; give a run folder")
    for name in FILES:
        (folder / name).rename(tmp_path / name)
        refused(folder, f"{name} does not exist")
        (tmp_path / name).rename(folder / name)
    load(folder)


@pytest.mark.parametrize("length", [0, 7, 200, -1])
def test_truncated_weights(folder, importable, length):
    content = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(content[:length])
    refused(folder, "weights.safetensors is damaged")


def test_weights_of_another_run(folder, importable):
    """Intact files that do not belong together: the restored channels' file holds other tensors."""
    shutil.copy(folder / "mixed.safetensors", folder / "weights.safetensors")
    refused(folder, "damaged")
    tensors, _ = read_tensors(folder / "mixed.safetensors")
    tensors["half"] = np.append(tensors["half"], tensors["half"][:3])
    (folder / "weights.safetensors").write_bytes(tensors_file(tensors))
    refused(folder, "damaged")


@pytest.mark.parametrize("name", ["config.json", "report.json"])
@pytest.mark.parametrize("content", ["", "{", "[1, 2]", "null", "\x00\x01"])
def test_damaged_json(folder, importable, name, content):
    (folder / name).write_text(content)
    refused(folder, f"{name}.*damaged")


@pytest.mark.parametrize("key", ["config", "plan", "bits", "detector", "output", "feature", "preprocessing"])
def test_incomplete_settings(folder, importable, key):
    settings = json.loads((folder / "config.json").read_text())
    for broken in ({k: v for k, v in settings.items() if k != key}, {**settings, key: {"a": 1}}):
        (folder / "config.json").write_text(json.dumps(broken))
        with pytest.raises(UserError) as caught:
            load(folder)
        assert "\n" not in str(caught.value)


def test_a_folder_of_a_newer_format(folder, importable):
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "format_version": 3}))
    refused(folder, "format 3 is not 1 or 2")


def test_the_registry_name_is_kept_in_the_folder(finished, importable):
    detector = resolve("tiny_detector:build", weights="tiny.pth")
    assert detector.spec == load("run").spec


@pytest.mark.parametrize("variant", WEIGHTS_FILES)
def test_another_tool_reads_the_weights_by_name(result, tmp_path, variant):
    result.save(tmp_path)
    found = read_by_name(tmp_path / WEIGHTS_FILES[variant])
    model = getattr(result, variant)
    for layer in result.plan.layers:
        module = model.get_submodule(layer.name)
        used = weight_quantizer(module)(module.weight)[0]
        assert torch.equal(torch.from_numpy(found[f"{layer.name}.weight"]), used), layer.name
        assert torch.equal(torch.from_numpy(found[f"{layer.name}.scale"]).flatten(), kept_scales(module))
        assert found[f"{layer.name}.codes"].max(initial=0) < width_of(result.bits[layer.name]).levels
    for name, proxy in activation_proxies(model).items():
        if not is_shared(proxy):
            stored = torch.stack([part.detach().flatten()[0] for part in stored_range(proxy)])
            assert np.array_equal(found[f"{name}.range"], stored.numpy()), name
    assert np.array_equal(found["norm.weight"], model.norm.weight.numpy())


def kept_scales(layer):
    return read_codes(layer)[1].flatten()[~weight_quantizer(layer).float_mask.flatten()]
