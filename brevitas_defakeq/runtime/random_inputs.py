"""Random input for an ONNX file, for measurements."""

from pathlib import Path
from typing import Any

import numpy as np

from brevitas_defakeq.runtime.card import Card, card_beside
from brevitas_defakeq.utils.errors import UserError

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
}


def random_inputs(session: Any, path: Path) -> dict[str, np.ndarray]:
    """Random values for every input of a session: batch 1, dynamic sides from the card beside the file.

    Raises UserError for an input that is no image, or whose size is unknown.
    """
    generator = np.random.default_rng(0)
    values: dict[str, np.ndarray] = {}
    for tensor in session.get_inputs():
        if tensor.type not in _DTYPES:
            raise UserError(f"{path}: the input {tensor.name} is a {tensor.type}, not an image")
        dtype, shape = _DTYPES[tensor.type], _shape(tensor.shape, path)
        if dtype == np.uint8:
            values[tensor.name] = generator.integers(0, 256, shape, dtype)
        else:
            values[tensor.name] = generator.standard_normal(shape).astype(dtype)
    return values


def _shape(sides: list, path: Path) -> tuple[int, ...]:
    """The shape with every dynamic side filled in."""
    shape = [side if isinstance(side, int) else None for side in sides]
    if shape and shape[0] is None:
        shape[0] = 1
    fixed = [side for side in shape if side is not None]
    if len(fixed) == len(shape):
        return tuple(fixed)
    if len(shape) != 4 or not card_beside(path).is_file():
        raise UserError(
            f"{path} takes input of free size {sides}; put its card beside it, or export a fixed size"
        )
    known = Card.read(card_beside(path)).input
    height, width = known.size
    full = (1, 3, height, width) if known.layout == "NCHW" else (1, height, width, 3)
    return tuple(own or given for own, given in zip(shape, full, strict=True))
