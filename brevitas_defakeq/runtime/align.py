"""From a face's five points to the crop that a detector was trained on.

DeepfakeBench rotates and scales faces so that the five points match a template, ArcFace's with a margin
around it. Its points come from dlib's finder and are beside the corners of eyes and mouth; `YUNET_TEMPLATE`
has the positions of YuNet's points in such crops.
"""

from __future__ import annotations

import numpy as np

from brevitas_defakeq.imaging.crop import Crop
from brevitas_defakeq.runtime.face_box import Face
from brevitas_defakeq.runtime.warp import warp

#: The template's side in pixels, and their margin on each side as a share of the square.
TEMPLATE_SIDE, TEMPLATE_MARGIN = 256, 0.15
#: The positions of YuNet's points in the benchmark's crops, fitted on 400 photographs: the benchmark's choice
#: of points rotates every face by 3.7 degrees. On 778 others the corners of the crops are 12 of 256 pixels
#: off (median; 16 with ArcFace's points); 68 landmarks of another finder replaced dlib's.
YUNET_TEMPLATE = np.array(
    [[92.60, 125.25], [155.39, 121.17], [125.55, 159.78], [100.62, 187.85], [156.09, 184.08]]
)
#: Without points: the benchmark's crop is a square of 1.42 box heights (varying by 6 %), its centre above the
#: box's by 0.059 of the side.
_SIDES_OF_BOX, _RISE = 1.42, 0.059


def face_crop(pixels: np.ndarray, face: Face, crop: Crop, size: int = TEMPLATE_SIDE) -> np.ndarray:
    """The face cropped from its image as the detector's training faces were, uint8 [height, width, 3].

    Args:
        pixels: the whole image, uint8 RGB [H, W, 3].
        face: the face, as YuNet finds it.
        crop: "aligned" gives [size, size, 3], black beyond the image; "box" gives the box and its margin
            without resizing, clipped to the image; "whole" gives the image.
        size: the aligned crop's side in pixels.
    """
    if crop.kind == "whole":
        return pixels
    if crop.kind == "box":
        return _box(pixels, face, crop.margin)
    return warp(pixels, alignment_matrix(face, crop.margin, size), size)


def alignment_matrix(face: Face, margin: float = TEMPLATE_MARGIN, size: int = TEMPLATE_SIDE) -> np.ndarray:
    """The matrix [2, 3] that maps image coordinates to coordinates in the aligned crop.

    Args:
        face: aligned by its points, or without points (or with all of them equal) by its box.
        margin: added on each side, as a share of the template's own square.
        size: the crop's side in pixels.
    """
    if face.points is None or np.ptp(face.points, axis=0).max() < 1e-6:
        return _upright(face, margin, size)
    return similarity(np.array(face.points), scaled_template(YUNET_TEMPLATE, margin, size))


def scaled_template(template: np.ndarray, margin: float, size: int) -> np.ndarray:
    """A template [N, 2] scaled about the crop's centre for another margin and size.

    >>> scaled_template(np.array([[128.0, 64.0]]), margin=0.15, size=128).tolist()
    [[64.0, 32.0]]
    """
    middle = TEMPLATE_SIDE / 2
    return (
        ((template - middle) * (1 + 2 * TEMPLATE_MARGIN) / (1 + 2 * margin) + middle) * size / TEMPLATE_SIDE
    )


def similarity(points: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The rotation, scale and shift [2, 3] that map points [N, 2] closest to targets [N, 2], in squares.

    Umeyama's solution; in the plane it is the fit of w = a z + b over complex numbers. The points must not
    all be equal.
    """
    z, w = (pairs @ [1, 1j] for pairs in (points, targets))
    centred = z - z.mean()
    a = np.vdot(centred, w) / np.vdot(centred, centred).real
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def _upright(face: Face, margin: float, size: int) -> np.ndarray:
    """The matrix of an upright square crop around a face's box."""
    side = _SIDES_OF_BOX * face.height
    x, y = face.centre
    y -= _RISE * side
    scale = size / (side * (1 + 2 * margin) / (1 + 2 * TEMPLATE_MARGIN))
    return np.array([[scale, 0, size / 2 - scale * x], [0, scale, size / 2 - scale * y]])


def _box(pixels: np.ndarray, face: Face, margin: float) -> np.ndarray:
    """The box, widened on each side by a share of its width and height, clipped to the image."""
    grown = np.array([-margin * face.width, -margin * face.height, margin * face.width, margin * face.height])
    left, top, right, bottom = np.rint(np.array(face.box) + grown).astype(int)
    height, width = pixels.shape[:2]
    left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    return pixels[top : max(bottom, top + 1), left : max(right, left + 1)]
