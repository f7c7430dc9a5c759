"""The forgery families: each changes a photographed face and leaves its kind of trace in the region.

Every function takes ``image`` (float32 ``[S, S, 3]``, 0..255), the soft ``region`` (float32 ``[S, S, 1]``,
0..1) and a ``generator``, and returns a new float32 image; ``blend`` also takes the ``donor``'s photograph.
Strengths are drawn per image, from ranges in which a good detector reaches an AUC of .96 to .99, and one that
was not trained on the held-out families still does better on them than chance.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from brevitas_defakeq.data.procedural.shapes import smooth_noise

#: A function of this file.
Forgery = Callable[..., np.ndarray]


def blend(
    image: np.ndarray, region: np.ndarray, *, donor: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Another person's inner face, its colours pulled towards the target's, behind a soft seam."""
    weight = region / region.sum()
    target_mean, donor_mean = (weight * image).sum((0, 1)), (weight * donor).sum((0, 1))
    pull = generator.uniform(0.3, 0.8)
    matched = np.clip(donor + pull * (target_mean - donor_mean), 0, 255)
    return image + region * (matched - image)


def resample(image: np.ndarray, region: np.ndarray, *, generator: np.random.Generator) -> np.ndarray:
    """The region made smaller by 1.4 to 2.4 and brought back, as a swap at another resolution does."""
    size = image.shape[0]
    small = int(size / generator.uniform(1.4, 2.4))
    whole = Image.fromarray(to_levels(image))
    reduced = whole.resize((small, small), Image.Resampling.BILINEAR)
    back = reduced.resize((size, size), Image.Resampling.BICUBIC)
    return image + region * (np.asarray(back, dtype=np.float32) - image)


def noise(image: np.ndarray, region: np.ndarray, *, generator: np.random.Generator) -> np.ndarray:
    """Grain of another camera in the region, 5 to 10 grey levels, and slightly other colours."""
    grain = generator.standard_normal(image.shape, dtype=np.float32) * generator.uniform(5.0, 10.0)
    gain = 1 + generator.uniform(-0.10, 0.10, 3).astype(np.float32)
    return image + region * (image * gain + grain - image)


def deform(image: np.ndarray, region: np.ndarray, *, generator: np.random.Generator) -> np.ndarray:
    """The region pulled about smoothly by up to 3 to 6 pixels, interpolated linearly."""
    size, reach = image.shape[0], generator.uniform(3.0, 6.0)
    rows, columns = np.nonzero(region[..., 0] > 0.01)
    cells = int(generator.integers(3, 6))
    amount = region[rows, columns, 0] * reach
    down = smooth_noise((size, size), cells=cells, generator=generator)[rows, columns]
    across = smooth_noise((size, size), cells=cells, generator=generator)[rows, columns]
    warped = image.copy()
    warped[rows, columns] = between_pixels(image, rows + amount * down, columns + amount * across)
    return warped


def upsample(image: np.ndarray, region: np.ndarray, *, generator: np.random.Generator) -> np.ndarray:
    """Traces of a generator's upsampling, in the face or everywhere: half resolution brought back by copied
    pixels, half smoothed, with a gain for each of the four pixels of a 2 x 2 cell (a checkerboard)."""
    size = image.shape[0]
    half = Image.fromarray(to_levels(image)).resize((size // 2, size // 2), Image.Resampling.BOX)
    copied = np.asarray(half.resize((size, size), Image.Resampling.NEAREST), dtype=np.float32)
    smooth = np.asarray(half.resize((size, size), Image.Resampling.BILINEAR), dtype=np.float32)
    decoded = smooth + generator.uniform(0.2, 0.7) * (copied - smooth)
    gains = 1 + generator.normal(0, 0.015, (2, 2, 1)).astype(np.float32)
    decoded *= np.tile(gains, (size // 2, size // 2, 1))
    where = region if generator.uniform() < 0.5 else np.float32(1)
    return image + where * generator.uniform(0.5, 0.95) * (decoded - image)


def inpaint(image: np.ndarray, region: np.ndarray, *, generator: np.random.Generator) -> np.ndarray:
    """Held out: one or two patches of the region painted over smoothly, without their grain."""
    size = image.shape[0]
    blurred = Image.fromarray(to_levels(image)).filter(ImageFilter.GaussianBlur(generator.uniform(0.6, 1.2)))
    filled = np.asarray(blurred, dtype=np.float32)
    rows, columns = np.nonzero(region[..., 0] > 0.9)
    down, across = np.mgrid[0:size, 0:size].astype(np.float32)
    patches = np.zeros((size, size), dtype=np.float32)
    for _ in range(int(generator.integers(1, 3))):
        middle = int(generator.integers(len(rows)))
        radii = generator.uniform(0.06, 0.12, 2) * size
        distance = np.hypot((down - rows[middle]) / radii[0], (across - columns[middle]) / radii[1])
        patches = np.maximum(patches, np.clip((1.1 - distance) * 5, 0, 1))
    return image + (patches[..., None] * region) * (filled - image)


def frequency(image: np.ndarray, region: np.ndarray, *, generator: np.random.Generator) -> np.ndarray:
    """Held out: a periodic grid in the region, period 2.2 to 5 pixels, 4 to 8 grey levels."""
    size = image.shape[0]
    positions = np.arange(size, dtype=np.float32)
    periods, phases = generator.uniform(2.2, 5.0, 2), generator.uniform(0, 2 * np.pi, 2)
    waves = np.cos(positions * (2 * np.pi / periods[:, None]) + phases[:, None]).astype(np.float32)
    grid = waves[0][:, None] + waves[1][None, :]
    return image + region * generator.uniform(4.0, 8.0) * grid[..., None]


def to_levels(image: np.ndarray) -> np.ndarray:
    """Float grey levels to uint8, rounded and clipped."""
    return (np.clip(image, 0, 255) + 0.5).astype(np.uint8)


def between_pixels(image: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Values ``[n, 3]`` of an image ``[S, S, 3]`` at ``n`` sub-pixel positions, linear, clipped to it."""
    last = image.shape[0] - 1.001
    rows, columns = np.clip(rows, 0, last), np.clip(columns, 0, last)
    top, left = rows.astype(np.int64), columns.astype(np.int64)
    down, across = (rows - top)[:, None].astype(np.float32), (columns - left)[:, None].astype(np.float32)
    upper = image[top, left] * (1 - across) + image[top, left + 1] * across
    lower = image[top + 1, left] * (1 - across) + image[top + 1, left + 1] * across
    return upper * (1 - down) + lower * down


#: The families that the shipped detector was trained on and that calibration uses.
TRAINED: dict[str, Forgery] = {
    "blend": blend,
    "resample": resample,
    "noise": noise,
    "warp": deform,
    "upsample": upsample,
}
#: Never used in training or calibration: they measure generalization.
HELD_OUT: dict[str, Forgery] = {"inpaint": inpaint, "frequency": frequency}
