"""Finds the files of a detector's weights, and the settings that ``transformers`` stores beside them."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import read_json

_LOG = logging.getLogger(__name__)

Files = str | os.PathLike | Sequence[str | os.PathLike]

#: Names of the weights in a folder of ``transformers``.
_IN_FOLDERS = ("model.safetensors", "pytorch_model.bin")
_FAKE = re.compile(r"fake|synthetic|generated|manipulat|forge|spoof|artificial|\bai\b", re.IGNORECASE)
_REAL = re.compile(r"real|authentic|genuine|human|live|original|natural", re.IGNORECASE)
#: Numbers of PIL's filters as the image processors store them.
_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}


def weights_files(weights: Files) -> list[Path]:
    """The given files, one or several; for a folder the file of weights in it."""
    given = [weights] if isinstance(weights, str | os.PathLike) else list(weights)
    return [_in_folder(Path(path)) for path in given]


def settings_beside(weights: Path) -> dict[str, Any]:
    """``fake_index`` and pre-processing fields from ``config.json`` and ``preprocessor_config.json``."""
    configuration = _json(weights.with_name("config.json"))
    if "model_type" not in configuration:  # some other tool's file
        return {}
    return _fake_index(configuration.get("id2label") or {}) | _preprocessing(
        _json(weights.with_name("preprocessor_config.json"))
    )


def _fake_index(labels: Mapping[str, str]) -> dict[str, int]:
    """The class labelled fake, where another one is labelled real; warns where the labels do not tell."""
    fakes = [int(index) for index, label in labels.items() if _FAKE.search(str(label))]
    reals = [int(index) for index, label in labels.items() if _REAL.search(str(label))]
    if len(fakes) == 1 and reals and fakes != reals:
        return {"fake_index": fakes[0]}
    named = ", ".join(f"{index}: {label}" for index, label in list(labels.items())[:4]) or "none"
    _LOG.warning("the labels in config.json (%s) do not say which class means fake; give --fake-index", named)
    return {}


def _preprocessing(processor: Mapping[str, Any]) -> dict[str, Any]:
    size = processor.get("size")
    if isinstance(size, Mapping):
        size = (size.get("height"), size.get("width")) if "height" in size else size.get("shortest_edge")
    given = {
        "input_size": tuple(size) if isinstance(size, (list, tuple)) else size,
        "mean": tuple(processor.get("image_mean") or ()) or None,
        "std": tuple(processor.get("image_std") or ()) or None,
        "interpolation": _FILTERS.get(processor.get("resample", -1)),
    }
    return {key: value for key, value in given.items() if value is not None}


def _json(path: Path) -> dict[str, Any]:
    content = read_json(path) if path.is_file() else {}
    return content if isinstance(content, dict) else {}


def _in_folder(path: Path) -> Path:
    if not path.is_dir():
        return path
    inside = next((path / name for name in _IN_FOLDERS if (path / name).is_file()), None)
    if inside is None:
        raise UserError(f"{path} is a folder without {' or '.join(_IN_FOLDERS)}; give the file of weights")
    return inside
