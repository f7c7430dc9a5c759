"""Perturbations of colour: saturation, contrast, and noise in luma and chroma."""

import math

import numpy as np

#: Chroma of a grey image where values run from 0 to 255: OpenCV's offset for floating-point images.
_NEUTRAL = np.float32(0.5)
#: What noise of 1 on that code's scale, luma and chroma in their 16..235 and 16..240 ranges over 255, is in
#: grey levels.
_LUMA_SIGMA, _CHROMA_SIGMA = 255 * 255 / 219, 255 * 255 / 224


def saturation(pixels: np.ndarray, kept: float, generator: np.random.Generator) -> np.ndarray:
    """Chroma times ``kept``, luma as it is; truncated to whole levels."""
    luma, red, blue = _to_luma_chroma(pixels)
    faded = (_NEUTRAL + (chroma - _NEUTRAL) * np.float32(kept) for chroma in (red, blue))
    return _to_levels(_to_rgb(luma, *faded))


def contrast(pixels: np.ndarray, kept: float, generator: np.random.Generator) -> np.ndarray:
    """Every value times ``kept``, truncated: darker too, since no mean is kept."""
    return (pixels.astype(np.float32) * np.float32(kept)).astype(np.uint8)


def colour_noise(pixels: np.ndarray, variance: float, generator: np.random.Generator) -> np.ndarray:
    """Gaussian noise of its own on luma and on both chromas."""
    planes = _to_luma_chroma(pixels)
    sigmas = (math.sqrt(variance) * sigma for sigma in (_LUMA_SIGMA, _CHROMA_SIGMA, _CHROMA_SIGMA))
    noise = generator.standard_normal((3, *pixels.shape[:2]), dtype=np.float32)
    noisy = (
        plane + np.float32(sigma) * grain for plane, sigma, grain in zip(planes, sigmas, noise, strict=True)
    )
    return _to_levels(_to_rgb(*noisy))


def _to_luma_chroma(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Y, Cr and Cb, float32 [H, W] each, by OpenCV's formula."""
    red, green, blue = np.moveaxis(pixels.astype(np.float32), -1, 0)
    luma = np.float32(0.299) * red + np.float32(0.587) * green + np.float32(0.114) * blue
    chromas = ((red, 0.713), (blue, 0.564))
    return luma, *((value - luma) * np.float32(share) + _NEUTRAL for value, share in chromas)


def _to_rgb(luma: np.ndarray, red: np.ndarray, blue: np.ndarray) -> np.ndarray:
    """The inverse by OpenCV's formula, whose rounded constants lose up to 0.1 levels: float32 [H, W, 3]."""
    red, blue = red - _NEUTRAL, blue - _NEUTRAL
    green = luma - np.float32(0.714) * red - np.float32(0.344) * blue
    return np.stack([luma + np.float32(1.403) * red, green, luma + np.float32(1.773) * blue], axis=-1)


def _to_levels(values: np.ndarray) -> np.ndarray:
    """Clipped to 0..255 and truncated."""
    return values.clip(0, 255).astype(np.uint8)
