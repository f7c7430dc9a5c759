"""Folders and indexes of shards, as ``transformers`` and timm write them."""

import json

import pytest
import safetensors.torch
import torch

from brevitas_defakeq.detectors.checkpoint import read_checkpoints
from brevitas_defakeq.detectors.weights_sources import weights_files
from brevitas_defakeq.utils.errors import UserError

STATE = {f"layer{index}.weight": torch.full((2, 2), float(index)) for index in range(4)}


def sharded(folder, suffix):
    """Two shards and their index."""
    stem = "model.safetensors" if suffix == ".safetensors" else "pytorch_model.bin"
    save = safetensors.torch.save_file if suffix == ".safetensors" else torch.save
    places = {}
    for number, names in enumerate((list(STATE)[:3], list(STATE)[3:]), start=1):
        shard = f"{stem.partition('.')[0]}-0000{number}-of-00002{suffix}"
        save({name: STATE[name] for name in names}, folder / shard)
        places |= dict.fromkeys(names, shard)
    index = folder / f"{stem}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 64}, "weight_map": places}))
    return index


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_shards_are_read_together(tmp_path, suffix):
    index = sharded(tmp_path, suffix)
    for given in (tmp_path, index, [index]):
        files = weights_files(given)
        assert len(files) == 2
        found = read_checkpoints(files)
        assert found.keys() == STATE.keys()
        assert all(torch.equal(found[name], STATE[name]) for name in STATE)


def test_incomplete_folders(tmp_path):
    index = sharded(tmp_path, ".bin")
    (tmp_path / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(UserError, match=r"pytorch_model-00002-of-00002\.bin is missing beside it; fetch all"):
        weights_files(tmp_path)
    index.write_text('{"weight_map": {}}')
    with pytest.raises(UserError, match="every shard is missing"):
        weights_files(tmp_path)
    index.write_text("{}")
    with pytest.raises(UserError, match=r"index\.json is damaged"):
        weights_files(tmp_path)


def test_an_index_reaches_no_other_folder(tmp_path):
    (tmp_path / "inside").mkdir()
    torch.save(STATE, tmp_path / "outside.bin")
    index = tmp_path / "inside" / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../outside.bin"}}))
    with pytest.raises(UserError, match=r"outside\.bin is missing beside it"):
        weights_files(tmp_path / "inside")
