"""Perturbations that take detail away: blur, pixelation, JPEG."""

import io

import numpy as np
from PIL import Image

from brevitas_defakeq.imaging import opencv_resize


def blur(pixels: np.ndarray, size: float, generator: np.random.Generator) -> np.ndarray:
    """A Gaussian of ``size`` x ``size`` taps (odd), sigma a sixth of it, mirrored at the borders.

    Within 2 grey levels of OpenCV's, which rounds its weights to 1/256.
    """
    from scipy.ndimage import correlate1d

    taps = np.arange(size) - size // 2
    weights = np.exp(-np.square(taps) / (2 * (size / 6) ** 2)).astype(np.float32)
    weights /= weights.sum()
    values = pixels.astype(np.float32)
    for axis in (0, 1):
        values = correlate1d(values, weights, axis=axis, mode="mirror")
    return np.rint(values).clip(0, 255).astype(np.uint8)


def pixelation(pixels: np.ndarray, factor: float, generator: np.random.Generator) -> np.ndarray:
    """Scaled down by ``factor`` and up again, both by OpenCV's linear filter."""
    height, width = pixels.shape[:2]
    small = (max(1, height // int(factor)), max(1, width // int(factor)))
    return opencv_resize.resize(opencv_resize.resize(pixels, small, "linear"), (height, width), "linear")


def jpeg(pixels: np.ndarray, quality: float, generator: np.random.Generator) -> np.ndarray:
    """Through a JPEG file of that quality (chroma at half the resolution, PIL's default)."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=int(quality))
    return np.asarray(Image.open(file))
