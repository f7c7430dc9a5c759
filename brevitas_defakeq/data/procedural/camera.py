"""Camera and file format effects, which real and forged images share, so that real ones are not flawless."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

#: Filters by which a camera resizes its sensor's pixels to the image's size.
FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)


@dataclass(frozen=True)
class Camera:
    """The properties of a camera.

    Attributes:
        oversampling: sensor pixels for each image pixel, along a side.
        blur_px: blur at the sensor in pixels.
        read: noise at any brightness, in grey levels of 255.
        shot: additional noise at full brightness, in grey levels.
        chroma: share of colour noise.
        resample: one of `FILTERS`.
        sharpening: in percent.
    """

    oversampling: float
    blur_px: float
    read: float
    shot: float
    chroma: float
    resample: int
    sharpening: int


def draw_camera(*, generator: np.random.Generator) -> Camera:
    """A random camera; all are of a similar quality."""
    uniform = generator.uniform
    return Camera(
        oversampling=uniform(1.05, 1.2),
        blur_px=uniform(0.0, 0.35),
        read=uniform(1.2, 2.0),
        shot=uniform(0.8, 1.8),
        chroma=uniform(0.3, 0.7),
        resample=FILTERS[int(generator.integers(len(FILTERS)))],
        sharpening=int(max(uniform(-30, 45), 0)),
    )


def photograph(scene: np.ndarray, camera: Camera, *, size: int, generator: np.random.Generator) -> np.ndarray:
    """A photograph of a scene (uint8 ``[R, R, 3]``) with blur and noise: uint8 ``[size, size, 3]``."""
    image = Image.fromarray(scene)
    if camera.blur_px > 0.2:
        image = image.filter(ImageFilter.BoxBlur(camera.blur_px))
    values = np.asarray(image).astype(np.float32)
    grey, tint = generator.standard_normal((2, *values.shape[:2]), dtype=np.float32)
    grain = np.stack([grey + camera.chroma * tint, grey, grey - camera.chroma * tint], axis=-1)
    values += grain * (camera.read + camera.shot / 255 * values)
    exposed = Image.fromarray((np.clip(values, 0, 255) + 0.5).astype(np.uint8))
    image = exposed.resize((size, size), camera.resample)
    if camera.sharpening:
        image = image.filter(sharpener(camera.sharpening))
    return np.asarray(image)


def sharpener(percent: int) -> ImageFilter.Kernel:
    """A 3 x 3 filter that adds ``percent`` of the detail that a small blur removes."""
    side = -percent / 100 / 8
    return ImageFilter.Kernel((3, 3), [side] * 4 + [1 - 8 * side] + [side] * 4, scale=1)


def save_and_load(image: np.ndarray, *, generator: np.random.Generator) -> np.ndarray:
    """The uint8 image after JPEG compression of quality 88 to 98 (two in three images) or unchanged."""
    quality, lossless = int(generator.integers(88, 99)), generator.uniform() < 1 / 3
    if lossless:
        return image
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))
