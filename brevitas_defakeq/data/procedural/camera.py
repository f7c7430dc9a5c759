"""The camera and the file: what every image goes through, real or forged, so real ones are not spotless."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

#: How a camera brings its sensor's pixels to the image's size.
FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)


@dataclass(frozen=True)
class Camera:
    """One camera's habits.

    ``oversampling`` is sensor to image pixels, ``blur_px`` at the sensor, the noise in grey levels of 255:
    ``read`` everywhere, ``shot`` more at full brightness, ``chroma`` of it colour; ``sharpening`` in percent.
    """

    oversampling: float
    blur_px: float
    read: float
    shot: float
    chroma: float
    resample: int
    sharpening: int


def draw_camera(*, generator: np.random.Generator) -> Camera:
    """A random camera, of a similar class to the others."""
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
    """Take a scene (uint8 ``[R, R, 3]``) with a camera: uint8 ``[size, size, 3]`` with its blur and noise."""
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
    """A 3 x 3 filter that adds ``percent`` of what a small blur takes away."""
    side = -percent / 100 / 8
    return ImageFilter.Kernel((3, 3), [side] * 4 + [1 - 8 * side] + [side] * 4, scale=1)


def save_and_load(image: np.ndarray, *, generator: np.random.Generator) -> np.ndarray:
    """Through a JPEG file of quality 88 to 98 (two in three images) or a lossless one: uint8 as given."""
    quality, lossless = int(generator.integers(88, 99)), generator.uniform() < 1 / 3
    if lossless:
        return image
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))
