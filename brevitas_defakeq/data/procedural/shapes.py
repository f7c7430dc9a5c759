"""Soft-edged shapes, noise and colour layers for drawing on an image.

Images being painted are float32 ``[3, S, S]`` in display values 0..1, masks float32 ``[h, w]`` in 0..1.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image


@lru_cache(maxsize=16)
def axes(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres of a square image: columns ``[1, S]``, rows ``[S, 1]``, from -1 to 1, y downwards."""
    centres = ((np.arange(size) + 0.5) * (2.0 / size) - 1.0).astype(np.float32)
    columns, rows = centres[None, :], centres[:, None]
    columns.flags.writeable = rows.flags.writeable = False
    return columns, rows


def cover(distance: np.ndarray, pixels: float) -> np.ndarray:
    """Share of each pixel inside a shape, from the signed distance (negative inside) and pixels per unit."""
    share = distance * -pixels
    share += 0.5
    np.maximum(share, 0.0, out=share)
    return np.minimum(share, 1.0, out=share)


def ellipse(
    x: np.ndarray, y: np.ndarray, *, centre: tuple[float, float], radii: tuple[float, float]
) -> np.ndarray:
    """Signed distance (close to the edge) to an ellipse, in the units of ``x`` and ``y``."""
    radius = np.sqrt(((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2)
    return (radius - 1.0) * min(radii)


def bump(
    x: np.ndarray, y: np.ndarray, *, centre: tuple[float, float], spread: tuple[float, float]
) -> np.ndarray:
    """Gaussian hill of height 1 at ``centre`` with standard deviations ``spread``."""
    exponent = np.square((x - centre[0]) * (0.70710678 / spread[0]))  # 1 / sqrt(2)
    exponent += np.square((y - centre[1]) * (0.70710678 / spread[1]))
    np.negative(exponent, out=exponent)
    return np.exp(exponent, out=exponent)


def over_(image: np.ndarray, mask: np.ndarray, colour: np.ndarray) -> None:
    """Lay ``colour`` (``[3]`` or ``[3, h, w]``) over ``image`` ``[3, h, w]`` by ``mask``, in place."""
    if colour.ndim == 1:
        colour = colour[:, None, None]
    change = colour - image
    change *= mask
    image += change


def shaded(colour: np.ndarray, light: np.ndarray) -> np.ndarray:
    """A colour ``[3]`` under light ``[h, w]``: ``[3, h, w]``."""
    return colour[:, None, None] * light


def colour_of(red: float, green: float, blue: float) -> np.ndarray:
    """A colour ``[3]`` from display values 0..1."""
    return np.array([red, green, blue], dtype=np.float32)


def smooth_noise(shape: tuple[int, int], *, cells: int, generator: np.random.Generator) -> np.ndarray:
    """Clouds of ``shape`` (h, w), standard deviation about 0.6, with ``cells`` (2 or more) along a side."""
    coarse = generator.standard_normal((cells, cells), dtype=np.float32)
    return np.asarray(Image.fromarray(coarse).resize(shape[::-1], Image.Resampling.BICUBIC))


def to_bytes(image: np.ndarray) -> np.ndarray:
    """Display values 0..1 ``[3, S, S]`` to uint8 ``[S, S, 3]``, rounded and clipped."""
    levels = (np.clip(image, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    return np.ascontiguousarray(levels.transpose(1, 2, 0))
