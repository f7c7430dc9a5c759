"""The file that a compressed detector is counted by."""

import json

import pytest
import torch
from safetensors import safe_open
from torch import nn

from benchmarks.compression.sign_layer import SignLayer
from benchmarks.compression.stored_file import file_bytes, file_of, read_file_


def network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 40))
    terms = torch.arange(40, dtype=torch.uint8) % 3 + 1
    return nn.Sequential(*model, SignLayer(nn.Linear(40, 40), terms))


def test_the_bytes_are_those_of_the_file_on_disk_and_of_its_contents(tmp_path):
    """Counted by hand: two bytes a float, a bit a sign, a byte for each number of terms and each exponent."""
    model = network()
    path = tmp_path / "model.safetensors"
    path.write_bytes(file_of(model))
    assert path.stat().st_size == file_bytes(model)
    floats = 8 * 27 + 8 + 4 * 8 + 8 * 40 + 40
    signed = 14 * 1 + 13 * 2 + 13 * 3  # terms of all channels
    halves = floats + signed + 3 * 40 + 40
    with safe_open(path, "pt") as file:
        sizes = {name: file.get_tensor(name).nbytes for name in file.keys()}  # noqa: SIM118
        index = json.loads(file.metadata()["index"])
    assert sizes["half"] == 2 * halves
    assert sizes["bits"] == -(-signed * 40 // 8)
    assert sizes["terms"] == 40
    assert [entry[0] for entry in index][-4:] == ["4.signs", "4.rows", "4.columns", "4.bias"]
    assert file_bytes(model) == pytest.approx(sum(sizes.values()) + len(json.dumps(index)), rel=0.2)


def test_a_file_reads_back_into_a_network_of_that_structure():
    model, other = network(), network()
    with torch.no_grad():
        for tensor in (*other.parameters(), other[1].running_mean):
            tensor.add_(torch.randn_like(tensor))
    read_file_(other, file_of(model))
    assert file_of(other) == file_of(model)
    assert torch.allclose(other[4].weight, model[4].weight, atol=1e-3)
    images = torch.randn(2, 3, 3, 3)
    assert torch.allclose(other.eval()(images), model.eval()(images), rtol=1e-2, atol=1e-2)


def test_shared_parameters_are_stored_once():
    model = nn.Sequential(nn.Linear(50, 50), nn.Linear(50, 50))
    alone = file_bytes(model)
    model[1].weight = model[0].weight
    assert alone - file_bytes(model) >= 2 * 2500
