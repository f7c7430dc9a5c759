"""OpenCV's resize, against OpenCV."""

import cv2
import numpy as np
import pytest
from PIL import Image

from brevitas_defakeq.imaging.opencv_resize import resize
from brevitas_defakeq.imaging.preprocessing import Preprocessing, fitted

FLAGS = {"cubic": cv2.INTER_CUBIC, "linear": cv2.INTER_LINEAR}


@pytest.mark.parametrize("kind", FLAGS)
def test_against_opencv(kind):
    """Sizes at random, larger and smaller; ties and its SIMD paths may move a value by one."""
    draw = np.random.default_rng(0)
    off = []
    for _ in range(30):
        height, width, *size = draw.integers(3, 200, 4)
        pixels = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
        theirs = cv2.resize(pixels, tuple(map(int, size[::-1])), interpolation=FLAGS[kind])
        off.append(np.abs(resize(pixels, tuple(size), kind).astype(int) - theirs))
    values = np.concatenate([part.ravel() for part in off])
    exact = 0.06 if kind == "cubic" and not cv2.ipp.useIPP() else 0.002
    assert values.max() <= 1 and values.mean() < exact, values.mean()


@pytest.mark.parametrize("kind", FLAGS)
@pytest.mark.parametrize("size", [(20, 30), (40, 60), (10, 15)])
def test_the_same_size_the_double_and_the_half(kind, size):
    pixels = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    theirs = cv2.resize(pixels, size[::-1], interpolation=FLAGS[kind])
    assert np.abs(resize(pixels, size, kind).astype(int) - theirs).max() <= 1


def test_it_differs_from_pil_where_images_shrink():
    """By much: this is why detectors have to be fed with their own resize."""
    pixels = np.random.default_rng(2).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    ours = fitted(Image.fromarray(pixels), Preprocessing((224, 224), "cv2_cubic"))
    pil = fitted(Image.fromarray(pixels), Preprocessing((224, 224), "bicubic"))
    assert np.abs(ours.astype(int) - pil).mean() > 5


@pytest.mark.parametrize(("size", "corner"), [((8, 6), None), ((4, 4), (0, 0)), ((5, 7), (5, 0))])
def test_the_centre_at_its_own_scale(size, corner):
    """Cut out, or put in the middle of black."""
    pixels = np.random.default_rng(3).integers(1, 256, (*size, 3), dtype=np.uint8)
    cut = fitted(Image.fromarray(pixels), Preprocessing((6, 4), fit="centre"))
    assert cut.shape == (6, 4, 3)
    if corner is None:
        assert np.array_equal(cut, pixels[1:7, 1:5])
    else:
        assert not cut[corner].any() and cut[3, 2].all()
