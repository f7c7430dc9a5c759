"""Published detectors as their original code computes them, with weights and inputs made by a rule.

``tests/data_files/published/NAME.json`` holds the names and shapes of the tensors that inference uses,
``NAME.npz`` what the original code gives. The rule: a tensor is drawn from ``default_rng(crc32(its name))``.
"""

import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch

FILES = Path(__file__).parents[2] / "data_files" / "published"
#: Detector -> side of its input.
SIDES = {
    "meso4": 256, "meso_inception4": 256, "npr": 256, "dfb_xception": 256, "ucf": 256,
    "dfb_efficientnet_b4": 256, "lsda": 256, "wavelet_clip": 224,
}  # fmt: skip


def outputs(name):
    """What the original gives."""
    with np.load(FILES / f"{name}.npz") as arrays:
        return dict(arrays)


def keys(name):
    """The file of names and shapes."""
    return json.loads((FILES / f"{name}.json").read_text())


def checkpoint(name):
    """The tensors that inference uses, under their published names."""
    described, state = keys(name), checkpoint_of(name, "")
    for key, drawn in described["checksums"].items():
        np.testing.assert_allclose(state[key].flatten()[:3].numpy(), drawn["first3"], rtol=1e-6)
        np.testing.assert_allclose(state[key].double().sum().item(), drawn["sum_float64"], atol=1e-6)
    return state


def checkpoint_of(name, prefixes):
    """Those of the tensors whose names begin so."""
    described, stored = keys(name), outputs(name)
    return {
        key: made(key, shape, described["gain"], stored)
        for key, shape in described["keys"].items()
        if key.startswith(prefixes)
    }


def made(key, shape, gain=1.0, stored=None):
    """One tensor by the rule."""
    if key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    if key.startswith(("dwt.", "idwt.")):
        return torch.from_numpy(stored[f"buffer/{key}"])
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    if key.endswith("running_mean"):
        values = 0.1 * rng.standard_normal(shape)
    elif key.endswith("running_var"):
        values = rng.uniform(0.5, 1.5, shape)
    elif len(shape) >= 2:
        values = gain / math.sqrt(math.prod(shape[1:])) * rng.standard_normal(shape)
    elif key.endswith("weight"):
        values = 1 + 0.1 * rng.standard_normal(shape)
    else:
        values = 0.1 * rng.standard_normal(shape)
    return torch.from_numpy(np.asarray(values).astype(np.float32))


def noise(side, preprocessing):
    """Two images of noise, normalised as the detector wants them."""
    return _normalised(np.random.default_rng(7).random((2, 3, side, side)).astype(np.float32), preprocessing)


def tiles(side, preprocessing):
    """Two images of 8 x 8 coloured tiles."""
    drawn = np.random.default_rng(8).random((2, 3, 8, 8)).astype(np.float32)
    return _normalised(drawn.repeat(side // 8, 2).repeat(side // 8, 3), preprocessing)


def _normalised(values, preprocessing):
    mean, std = (np.float32(part).reshape(1, 3, 1, 1) for part in (preprocessing.mean, preprocessing.std))
    return torch.from_numpy((values - mean) / std)
