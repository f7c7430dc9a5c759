"""Sampling an image at other places, against OpenCV."""

import cv2
import numpy as np
import pytest
from PIL import Image

from brevitas_defakeq.runtime.warp import warp


def image(height: int, width: int, *, smooth: bool, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    if not smooth:
        return draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
    coarse = draw.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def turn(degrees: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    angle = np.radians(degrees)
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cosine, -sine, shift[0]], [sine, cosine, shift[1]]])


@pytest.mark.parametrize("smooth", [True, False])
def test_against_opencv(smooth):
    """By value with OpenCV 4, whose places are rounded as ours; without rounding, noise differs by 0.8."""
    draw, off = np.random.default_rng(1), []
    for _ in range(25):
        pixels = image(*draw.integers(8, 200, 2), smooth=smooth)
        matrix = turn(draw.uniform(-180, 180), draw.uniform(0.2, 3), draw.uniform(-60, 100, 2))
        size = int(draw.integers(8, 100))
        theirs = cv2.warpAffine(pixels, matrix, (size, size), flags=cv2.INTER_LINEAR)
        off.append(np.abs(warp(pixels, matrix, size).astype(int) - theirs).ravel())
    limit = 0.01 if cv2.__version__.startswith("4.") else 1.0
    assert np.concatenate(off).mean() < limit


def test_the_image_itself_a_shift_and_black_around():
    pixels = image(5, 7, smooth=False) | 1
    moved = warp(pixels, turn(0, 1, (2, 3)), 12)
    wanted = np.zeros((12, 12, 3), np.uint8)
    wanted[3:8, 2:9] = pixels
    assert np.array_equal(moved, wanted)


def test_half_a_pixel_is_the_mean_of_two_and_fades_into_black():
    pixels = np.full((3, 3, 3), 100, np.uint8)
    pixels[:, 1] = 200
    row = warp(pixels, turn(0, 1, (0.5, 0)), 4)[1, :, 0]
    assert row.tolist() == [50, 150, 150, 50]


@pytest.mark.parametrize("shift", [(-100, 0), (100, 0), (0, -100), (0, 100), (-1e6, 1e6)])
def test_beyond_the_image_all_is_black(shift):
    assert not warp(np.full((9, 11, 3), 255, np.uint8), turn(0, 1, shift), 16).any()


def test_a_quarter_turn():
    pixels = image(6, 6, smooth=False)
    turned = warp(pixels, turn(90, 1, (5, 0)), 6)  # x' = 5 - y, y' = x: clockwise on the screen
    assert np.array_equal(turned, np.rot90(pixels, -1))
