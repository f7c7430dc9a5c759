"""Reads the content of a weights file without running code in it."""

from __future__ import annotations

import argparse
import json
import pickle
import shlex
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch

from brevitas_defakeq.utils.errors import UserError, one_line

TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".tar")
KERAS_SUFFIXES = (".h5", ".hdf5")
WEIGHTS_SUFFIXES = (".safetensors", *TORCH_SUFFIXES, ".npz", *KERAS_SUFFIXES)

#: Harmless classes that are common beside weights: a script's options, a numpy number.
_numpy_scalar: Any = np.float64(0).__reduce__()[0]
_DATA_ONLY: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    argparse.Namespace,
    np.dtype,
    *{type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32, np.bool_)},
    *((_numpy_scalar, f"numpy.{package}.multiarray.scalar") for package in ("core", "_core")),
]

#: For the user to run on a trusted file: keeps the tensors, in their dictionaries, and drops everything else.
_CONVERSION = (
    "import torch; f = lambda c: c.detach() if torch.is_tensor(c) else f(dict(c.state_dict())) "
    'if hasattr(c, "state_dict") else {{str(k): f(v) for k, v in c.items()}} if isinstance(c, dict) '
    'else None; torch.save(f(torch.load({source}, map_location="cpu", weights_only=False)), {target})'
)


def read_weights_file(path: Path) -> Any:
    """The file's content on the CPU: a dictionary of tensors, or other data that torch.save wrote.

    .safetensors is read by safetensors, .pth, .pt, .bin, .ckpt and .tar by torch's loader for tensors only,
    .npz by numpy without pickles, Keras' .h5 by h5py.
    Raises UserError for files that are missing, of another kind, damaged, or that need to run code.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist or is no file; give the path of the detector's weights")
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        return _read_safetensors(path)
    if suffix in TORCH_SUFFIXES:
        return _read_torch(path)
    if suffix == ".npz":
        return _read_npz(path)
    if suffix in KERAS_SUFFIXES:
        return _read_keras(path)
    raise UserError(f"{path} is no known weights file; allowed are {', '.join(WEIGHTS_SUFFIXES)}")


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"{path} is not an intact safetensors file ({one_line(error)}); fetch it again"
        ) from error


def _read_npz(path: Path) -> dict[str, torch.Tensor]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    except (OSError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not an intact file of plain arrays ({one_line(error)})") from error


def _read_keras(path: Path) -> dict[str, torch.Tensor]:
    """The arrays of a Keras file under ``layer/tensor``, as in ``conv2d_5/kernel``."""
    try:
        import h5py
    except ImportError:
        raise UserError(f"reading {path} takes h5py; pip install h5py") from None
    arrays: dict[str, torch.Tensor] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind == "f":
            layer, tensor = name.split("/")[-2:]
            arrays[f"{layer}/{tensor.partition(':')[0]}"] = torch.from_numpy(item[()])

    try:
        with h5py.File(path, "r") as file:
            file.get("model_weights", file).visititems(visit)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{path} is not an intact Keras file ({one_line(error)})") from error
    return arrays


def _read_torch(path: Path) -> Any:
    """The content of a torch file. `Exception`, since what torch raises depends on the damaged bytes."""
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_DATA_ONLY):
            warnings.simplefilter(
                "ignore"
            )  # about pickle protocols and TorchScript; both end in an error here
            mapped = zipfile.is_zipfile(path)  # read as it is needed: a large detector is not held twice
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:
        message = " ".join(str(error).split())
        if _needs_code(path, message):
            raise UserError(_code_message(path, message)) from error
        raise UserError(
            f"{path} is damaged, cut short, or no checkpoint that torch.save wrote; fetch it again"
        ) from error


def _needs_code(path: Path, message: str) -> bool:
    """Whether torch refused a readable file because opening it would run code."""
    if "Unsupported operand" in message:  # a pickle that torch.save did not write
        return _first_byte(path) == pickle.PROTO
    return any(
        sign in message for sign in ("Unsupported global", "Unsupported class", "TorchScript", "Trying to ")
    )


def _first_byte(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(1)


def _code_message(path: Path, message: str) -> str:
    """The error message: what was found, and the command to convert a trusted file."""
    found = message.partition("GLOBAL ")[2].split(" ")[0] or "Python objects"
    target = str(path.with_name(f"{path.stem}_tensors.pth"))
    code = _CONVERSION.format(source=json.dumps(str(path)), target=json.dumps(target))
    command = f"python -c {shlex.quote(code)}"
    return (
        f"{path} holds more than tensors ({found}) and opening it would run code, so it was not opened; "
        "if you trust its source, convert it once, from the folder of its code if it has any, "
        f"and use {target}: {command}"
    )
