"""Weights files that cannot be read by name: each is refused in one line."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from brevitas_defakeq.storage.deflated_tensors import read_tensors, tensors_file
from brevitas_defakeq.storage.weights_index import INDEX, read_by_name
from brevitas_defakeq.utils.errors import UserError

DATA_FILES = Path(__file__).resolve().parents[1] / "data_files"


@pytest.fixture
def written(finished):
    """The weights file of a finished run."""
    return finished.folder / "run" / "weights.safetensors"


def refused(path, match):
    with pytest.raises(UserError, match=match) as caught:
        read_by_name(path)
    assert "\n" not in str(caught.value)


def indexed(path, index: str) -> bytes:
    """A file with another index."""
    tensors = {**read_tensors(path)[0], INDEX: np.frombuffer(index.encode(), np.uint8)}
    return tensors_file(tensors)


def test_files_without_an_index(tmp_path):
    refused(DATA_FILES / "run_013x" / "weights.safetensors", "has no index: .* save it again")
    for metadata in (None, {"format": "pt"}):
        save_file({"weight": np.zeros(3)}, tmp_path / "foreign", metadata=metadata)
        refused(tmp_path / "foreign", "has no index")


def test_missing_and_cut_files(written, tmp_path):
    refused(tmp_path / "missing", "is no file; give a weights file")
    refused(tmp_path, "is no file")
    data = written.read_bytes()
    for length in (0, 8, 100, len(data) - 1):
        (tmp_path / "cut").write_bytes(data[:length])
        refused(tmp_path / "cut", "is damaged")


@pytest.mark.parametrize("index", ["no JSON", "[1]", "{}"])
def test_an_index_that_is_none(written, tmp_path, index):
    (tmp_path / "file").write_bytes(indexed(written, index))
    refused(tmp_path / "file", "is damaged")


@pytest.mark.parametrize("kind", ["codes.", "half", "zero_points."])
def test_tensors_that_do_not_fit_the_index(written, tmp_path, kind):
    tensors = read_tensors(written)[0]
    kind = next(name for name in tensors if name.startswith(kind))
    for changed in (tensors[kind][:-2], np.append(tensors[kind], tensors[kind][:2])):
        (tmp_path / "file").write_bytes(tensors_file({**tensors, kind: changed}))
        refused(tmp_path / "file", "is damaged")


def test_a_width_that_is_not_registered(written, tmp_path):
    index = json.loads(read_tensors(written)[0][INDEX].tobytes())
    index["layers"][0][1] = 8 / 3
    (tmp_path / "file").write_bytes(indexed(written, json.dumps(index)))
    refused(tmp_path / "file", "2.66667 bits is not a known width")
