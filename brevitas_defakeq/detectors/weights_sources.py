"""Finds the files of a detector's weights: one or several files, folders, and indexes of shards."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import read_json, understanding

Files = str | os.PathLike | Sequence[str | os.PathLike]

#: Names of the weights in a folder of timm's hub or of ``transformers``, the safer format first.
_IN_FOLDERS = ("model.safetensors", "pytorch_model.bin")
#: Ending of a file that says which shard holds which tensor.
_INDEX = ".index.json"


def weights_files(weights: Files) -> list[Path]:
    """The given files; for a folder the file of weights in it, and for an index all of its shards.

    Raises UserError for a folder without weights, and where a shard is missing.
    """
    given = [weights] if isinstance(weights, str | os.PathLike) else list(weights)
    return [file for path in given for file in _files_of(Path(path))]


def _files_of(path: Path) -> list[Path]:
    if path.is_dir():
        path = _in_folder(path)
    return _shards(path) if path.name.endswith(_INDEX) and path.is_file() else [path]


def _in_folder(path: Path) -> Path:
    """The file of weights, or the index of its shards."""
    for name in _IN_FOLDERS:
        for file in (path / name, path / f"{name}{_INDEX}"):
            if file.is_file():
                return file
    raise UserError(f"{path} is a folder without {' or '.join(_IN_FOLDERS)}; give the file of weights")


def _shards(index: Path) -> list[Path]:
    """The shards beside an index, each once."""
    with understanding(index, "fetch it again"):
        names = sorted({Path(name).name for name in read_json(index)["weight_map"].values()})
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing or not names:
        listed = ", ".join(missing) or "every shard"
        raise UserError(f"{index}: {listed} is missing beside it; fetch all shards into that folder")
    return [index.parent / name for name in names]
