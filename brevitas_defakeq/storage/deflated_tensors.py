"""Safetensors files whose tensors are deflated one by one, each where that makes it smaller.

The metadata say which: ``deflated`` is JSON of name -> dtype as numpy calls it. Such a tensor is the bytes of
one zlib stream. Files without the entry are read as they are.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from brevitas_defakeq.utils.deflate import deflated, inflated
from brevitas_defakeq.utils.errors import UserError

DEFLATED = "deflated"


def tensors_file(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of a file of one-dimensional arrays; equal arrays give equal files, whatever their order."""
    stored, dtypes = {}, {}
    for name, array in sorted(arrays.items()):
        stored[name] = np.ascontiguousarray(array)
        stream = deflated(stored[name].tobytes())
        if len(stream) < array.nbytes:
            stored[name], dtypes[name] = np.frombuffer(stream, np.uint8), str(array.dtype)
    return save(stored, metadata={DEFLATED: json.dumps(dtypes, separators=(",", ":"))})


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a file, and its metadata. Raises UserError where the file is damaged."""
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 no dict
        for name, dtype in json.loads(metadata.get(DEFLATED, "{}")).items():
            arrays[name] = np.frombuffer(inflated(arrays[name].tobytes()), dtype).copy()
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error}); quantize again") from None
    return arrays, metadata
