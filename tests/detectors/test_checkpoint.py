"""Reading checkpoints: every wrapping is undone and no code is run."""

import argparse
import os
import pickle
import shlex
import subprocess
import sys

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from torch import nn

from brevitas_defakeq.detectors.checkpoint import read_checkpoint
from brevitas_defakeq.utils.errors import UserError


def detector():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 1))


def prefixed(state, prefix):
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


@pytest.fixture
def state():
    torch.manual_seed(0)
    return detector().state_dict()


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def refused(path, match):
    with pytest.raises(UserError, match=match) as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value) and path.name in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar"])
def test_every_kind_of_file(tmp_path, state, suffix):
    path = tmp_path / f"weights{suffix}"
    save = safetensors.torch.save_file if suffix == ".safetensors" else torch.save
    save(dict(state), path)
    found = read_checkpoint(path)
    assert sorted(found) == sorted(state)
    assert all(torch.equal(found[name], state[name]) for name in state)


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "net", "model_state_dict", "model_ema"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.module."])
def test_wrapped_and_prefixed(tmp_path, state, wrapper, prefix):
    torch.save({"epoch": 3, wrapper: prefixed(state, prefix), "optimizer": {"lr": 0.1}}, tmp_path / "a.pth")
    assert list(read_checkpoint(tmp_path / "a.pth")) == list(state)


def test_doubly_wrapped(tmp_path, state):
    torch.save({"state_dict": {"model": state, "n_averaged": torch.tensor(4)}}, tmp_path / "a.pth")
    assert list(read_checkpoint(tmp_path / "a.pth")) == list(state)


def halves(state):
    return {name: tensor / 2 if tensor.is_floating_point() else tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    ("raw", "averaged"), [("state_dict", "state_dict_ema"), ("model", "model_ema"), ("model", "ema")]
)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_averaged_weights_come_before_raw_ones(tmp_path, state, caplog, raw, averaged, prefix):
    """As timm's own loader does it; the raw ones on demand, and averaged ones alone."""
    torch.save({raw: state, averaged: prefixed(halves(state), prefix), "epoch": 3}, tmp_path / "a.pth")
    found = read_checkpoint(tmp_path / "a.pth")
    assert list(found) == list(state) and torch.equal(found["3.weight"], state["3.weight"] / 2)
    assert f"--ignore-keys {averaged} takes the raw ones" in caplog.text
    raw_ones = read_checkpoint(tmp_path / "a.pth", {averaged: 0})
    assert torch.equal(raw_ones["3.weight"], state["3.weight"])
    torch.save({averaged: prefixed(state, prefix), "epoch": 3}, tmp_path / "alone.pth")
    assert list(read_checkpoint(tmp_path / "alone.pth")) == list(state)
    if averaged != "ema":
        theirs = timm.models.load_state_dict(str(tmp_path / "a.pth"))
        assert torch.equal(theirs["3.weight"], found["3.weight"])


def test_averages_of_parameters_alone_take_the_buffers_from_the_raw_weights(tmp_path, state, caplog):
    averaged = {name: tensor for name, tensor in halves(state).items() if not name.startswith("1.")}
    torch.save({"model": state, "ema": {"decay": 0.99, "shadow": averaged}}, tmp_path / "a.pth")
    found = read_checkpoint(tmp_path / "a.pth")
    assert found.keys() == state.keys()
    assert torch.equal(found["0.weight"], state["0.weight"] / 2)
    assert torch.equal(found["1.running_mean"], state["1.running_mean"])
    assert "and 5 tensors that it lacks from model" in caplog.text


def test_averages_without_names_are_said(tmp_path, state, caplog):
    torch.save({"model": state, "ema": {"shadow_params": [torch.ones(2)]}}, tmp_path / "a.pth")
    assert torch.equal(read_checkpoint(tmp_path / "a.pth")["3.weight"], state["3.weight"])
    assert "ema has no tensors by name; the raw weights are taken" in caplog.text


def test_a_configuration_called_model_is_no_model(tmp_path, state):
    torch.save({"model": {"name": "resnet", "depth": 18}, "weights": state}, tmp_path / "a.pth")
    assert list(read_checkpoint(tmp_path / "a.pth")) == list(state)


def test_a_state_dict_under_any_key(tmp_path, state):
    torch.save({"detector": state, "optimizer": {"lr": 0.1}}, tmp_path / "a.pth")
    assert list(read_checkpoint(tmp_path / "a.pth")) == list(state)
    torch.save({"detector": state, "generator": state}, tmp_path / "a.pth")
    refused(tmp_path / "a.pth", "a dictionary of detector, generator")
    assert list(read_checkpoint(tmp_path / "a.pth", {"generator": 0})) == list(state)


def test_old_files_and_data_beside_the_weights(tmp_path, state):
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert list(read_checkpoint(tmp_path / "old.pth")) == list(state)
    options = argparse.Namespace(lr=1e-4, size=[224, 224])
    content = {"model": state, "args": options, "best": np.float64(0.9), "step": np.int64(3)}
    torch.save(content, tmp_path / "trained.pth")
    assert list(read_checkpoint(tmp_path / "trained.pth")) == list(state)


@pytest.mark.parametrize("old_format", [False, True])
def test_code_in_a_checkpoint_never_runs(tmp_path, state, old_format):
    marker = tmp_path / "it_ran"
    content = {"state_dict": dict(state), "extra": Malicious(marker)}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=not old_format)
    assert "mkdir" in refused(tmp_path / "a.pth", "would run code, so it was not opened.*weights_only=False")
    assert not marker.exists()


@pytest.mark.parametrize("protocol", range(2, 6))
def test_code_in_a_bare_pickle_never_runs(tmp_path, protocol):
    marker = tmp_path / "it_ran"
    (tmp_path / "a.pt").write_bytes(pickle.dumps(Malicious(marker), protocol=protocol))
    refused(tmp_path / "a.pt", "would run code|damaged")
    assert not marker.exists()


def test_a_pickled_module_names_the_command_that_converts_it(tmp_path):
    folder = tmp_path / "it's here"
    folder.mkdir()
    module = nn.Linear(2, 1)
    torch.save(module, folder / "whole.pth")
    message = refused(folder / "whole.pth", "Linear.*if you trust its source, convert it once")
    words = shlex.split(message.rpartition(": python ")[2])
    subprocess.run([sys.executable, *words], check=True, timeout=100)
    assert torch.equal(read_checkpoint(folder / "whole_tensors.pth")["weight"], module.weight)


@pytest.mark.parametrize("content", ["module", "state and module", "optimizer object"])
def test_the_command_converts_modules_in_dictionaries(tmp_path, monkeypatch, content):
    """What YOLO and many training scripts save; the averaged weights stay averaged ones.

    Its program runs here: that it does in a process of its own is tested above.
    """
    module, averaged = nn.Linear(2, 1), nn.Linear(2, 1)
    made = {
        "module": {"epoch": 3, "model": module, "ema": averaged, "optimizer": None},
        "state and module": {"model": averaged.state_dict(), "criterion": nn.BCELoss(weight=torch.ones(1))},
        "optimizer object": {
            "state_dict": averaged.state_dict(),
            "optimizer": torch.optim.SGD(module.parameters()),
        },
    }
    torch.save(made[content], tmp_path / "a.pt")
    message = refused(tmp_path / "a.pt", "if you trust its source, convert it once")
    option, program = shlex.split(message.rpartition(": python ")[2])
    assert option == "-c"
    monkeypatch.chdir(tmp_path)
    exec(program, {})
    assert torch.equal(read_checkpoint(tmp_path / "a_tensors.pth")["weight"], averaged.weight)


def test_damaged_and_foreign_files(tmp_path, state):
    torch.save(state, tmp_path / "intact.pth")
    content = (tmp_path / "intact.pth").read_bytes()
    for name, damaged in (
        ("half.pth", content[: len(content) // 2]),
        ("empty.pth", b""),
        ("text.pth", b"<!DOCTYPE html> not found"),
        ("half.safetensors", b"\x10\x00\x00\x00\x00\x00\x00\x00{"),
        ("empty.safetensors", b""),
    ):
        (tmp_path / name).write_bytes(damaged)
        refused(tmp_path / name, "fetch it again")
    refused(tmp_path / "gone.pth", "does not exist")
    refused(tmp_path, "does not exist or is no file")
    (tmp_path / "weights.onnx").write_bytes(b"x")
    refused(tmp_path / "weights.onnx", "no known weights file; allowed are .safetensors, .pth")
    torch.save({"epoch": 1, "lr": 0.5}, tmp_path / "no_weights.pth")
    refused(tmp_path / "no_weights.pth", "no state dict but a dictionary of epoch, lr")
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    refused(tmp_path / "tensor.pth", "no state dict but Tensor")
