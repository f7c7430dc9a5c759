"""Rotates, scales and shifts an image: `cv2.warpAffine` without OpenCV, black outside the image.

Like OpenCV it rounds coordinates to 1/32 of a pixel, interpolates the four neighbours with integers and does
not average where it shrinks, as for the crops that detectors were trained on.
"""

import numpy as np

_STEPS = 32  #: sub-pixel steps


def warp(pixels: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """The warped image, uint8 [size, size, C], black outside the image.

    Equal to OpenCV 4's on x86; versions that do not round coordinates differ by less than a grey level on
    average.

    Args:
        pixels: uint8 [H, W, C].
        matrix: maps image coordinates to output coordinates, [2, 3].
        size: the output's side in pixels.

    >>> warp(np.full((4, 4, 3), 9, np.uint8), np.array([[1.0, 0, 1], [0, 1, 1]]), 3)[:, :, 0].tolist()
    [[0, 0, 0], [0, 9, 9], [0, 9, 9]]
    """
    x, y = _source_coordinates(matrix, size)
    window, left, top = _window(pixels, x // _STEPS, y // _STEPS)
    height, width = window.shape[:2]
    colours = window.reshape(height * width, -1)
    columns, rows = x // _STEPS - left, y // _STEPS - top
    far_x, far_y = ((steps % _STEPS).astype(np.int32) for steps in (x, y))
    total = np.full((size, size, colours.shape[1]), _STEPS * _STEPS // 2, np.int32)
    for down, weight_y in ((0, _STEPS - far_y), (1, far_y)):
        row = (rows + down).clip(0, height - 1) * width
        for across, weight_x in ((0, _STEPS - far_x), (1, far_x)):
            column = (columns + across).clip(0, width - 1)
            total += colours.take(row + column, axis=0) * (weight_y * weight_x)[..., None]
    return (total // (_STEPS * _STEPS)).astype(np.uint8)


def _source_coordinates(matrix: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The image coordinates of each output pixel: x and y [size, size] in 1/32 of a pixel."""
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    steps = np.arange(size)
    fine = 1024  # OpenCV rounds the two terms to 1/1024 each, then their sum to 1/32
    across, down = (
        (
            np.rint(line[0] * steps * fine).astype(np.int64)[None, :]
            + np.rint((line[1] * steps + line[2]) * fine).astype(np.int64)[:, None]
        )
        for line in inverse[:2]
    )
    half = fine // _STEPS // 2
    return (across + half) // (fine // _STEPS), (down + half) // (fine // _STEPS)


def _window(pixels: np.ndarray, columns: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, int, int]:
    """The part of the image that is read, with a black line outside the image; its left and top."""
    height, width = pixels.shape[:2]
    left, right = _reach(columns, width)
    top, bottom = _reach(rows, height)
    window = np.zeros((bottom - top, right - left, pixels.shape[2]), np.uint8)
    inner = pixels[max(top, 0) : bottom, max(left, 0) : right]
    y, x = max(-top, 0), max(-left, 0)
    window[y : y + inner.shape[0], x : x + inner.shape[1]] = inner
    return window, left, top


def _reach(positions: np.ndarray, length: int) -> tuple[int, int]:
    """First position read and the one after the last, at most one beyond the image on either side."""
    first = min(max(int(positions.min()), -1), length)
    return first, min(max(int(positions.max()) + 2, first + 1), length + 1)
