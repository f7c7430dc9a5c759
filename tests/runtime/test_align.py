"""From points to crops, against the benchmark's own values and by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from brevitas_defakeq.imaging.crop import Crop
from brevitas_defakeq.runtime.align import (
    YUNET_TEMPLATE,
    alignment_matrix,
    face_crop,
    scaled_template,
    similarity,
)
from brevitas_defakeq.runtime.face_box import Face

#: What DeepfakeBench's preprocessing computes: its template, five points, and the matrix for them.
REFERENCE = json.loads((Path(__file__).parents[1] / "data_files" / "align.json").read_text())
BENCHMARK_TEMPLATE = np.array(REFERENCE["template_256"])


def face(points, box=(10, 20, 30, 50)) -> Face:
    return Face(box, 0.9, None if points is None else tuple(map(tuple, np.asarray(points).tolist())))


def moved(points, matrix):
    return np.asarray(points) @ matrix[:, :2].T + matrix[:, 2]


def test_the_benchmarks_matrix():
    found = similarity(np.array(REFERENCE["example_points"]), BENCHMARK_TEMPLATE)
    np.testing.assert_allclose(found, REFERENCE["example_matrix"], atol=1e-4)


def test_the_least_squares_of_a_similarity():
    """Against a general solver of the four unknowns: w = (a x - b y + c, b x + a y + d)."""
    draw = np.random.default_rng(0)
    for _ in range(20):
        points, targets = draw.normal(100, 40, (2, 5, 2))
        rows = [[(x, -y, 1, 0), (y, x, 0, 1)] for x, y in points]
        (a, b, c, d), *_ = np.linalg.lstsq(np.reshape(rows, (10, 4)), targets.ravel())
        np.testing.assert_allclose(similarity(points, targets), [[a, -b, c], [b, a, d]], atol=1e-9)


@pytest.mark.parametrize("margin", [0.0, 0.15, 0.4])
@pytest.mark.parametrize("size", [112, 256])
def test_margin_and_size_as_the_benchmark_has_them(margin, size):
    """Its formula, from ArcFace's 112 pixels: (points * size / 112 + margin * size) / (1 + 2 margin)."""
    arcface = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366]])
    wanted = (arcface * size / 112 + margin * size) / (1 + 2 * margin)
    np.testing.assert_allclose(scaled_template(BENCHMARK_TEMPLATE[:3], margin, size), wanted, atol=1e-3)


def test_a_turned_face_comes_to_lie_on_the_template():
    angle = np.radians(25)
    turn = 1.7 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = YUNET_TEMPLATE @ turn.T + (300, -40)
    np.testing.assert_allclose(moved(points, alignment_matrix(face(points))), YUNET_TEMPLATE, atol=1e-6)
    halved = moved(points, alignment_matrix(face(points), size=128))
    np.testing.assert_allclose(halved, YUNET_TEMPLATE / 2, atol=1e-6)


def test_the_crop_holds_the_pixels_around_the_points():
    """An image whose red is x and green is y: the crop shows where each of its pixels came from."""
    y, x = np.mgrid[:240, :250]
    pixels = np.stack([x, y, np.full_like(x, 255)], axis=-1).astype(np.uint8)
    points = YUNET_TEMPLATE * 0.5 + (60, 50)  # half as large: the square from (60, 50) to (188, 178)
    crop = face_crop(pixels, face(points), Crop("aligned", 0.15))
    assert crop.shape == (256, 256, 3)
    assert crop[0, 0].tolist() == [60, 50, 255] and crop[200, 100].tolist() == [110, 150, 255]
    wide = face_crop(pixels, face(points), Crop("aligned", 0.8), 130)  # twice as wide about (124, 114)
    assert wide[65, 65].tolist() == [124, 114, 255]
    assert not wide[:, 0].any(), "beyond the image"
    assert face_crop(pixels, face(points), Crop("aligned", 0.15), 64).shape == (64, 64, 3)


@pytest.mark.parametrize("points", [None, [(12.0, 30.0)] * 5])
def test_without_points_an_upright_square_about_the_box(points):
    """Box 20 x 30 about (20, 35): side 1.42 * 30 = 42.6, centre 0.059 sides higher, at (20, 32.4866)."""
    found = alignment_matrix(face(points), 0.15, 100)
    corners = moved([(20 - 21.3, 32.4866 - 21.3), (20 + 21.3, 32.4866 + 21.3)], found)
    np.testing.assert_allclose(corners, [(0, 0), (100, 100)], atol=1e-3)
    wider = alignment_matrix(face(points), 0.8, 100)  # 2.6 / 1.3 times as wide
    np.testing.assert_allclose(moved([(20 - 42.6, 32.4866)], wider), [(0, 50)], atol=1e-3)


def test_boxes_are_cut_at_their_own_size():
    pixels = np.random.default_rng(0).integers(0, 256, (60, 50, 3), dtype=np.uint8)
    assert np.array_equal(face_crop(pixels, face(None), Crop("box")), pixels[20:50, 10:30])
    grown = face_crop(pixels, face(None), Crop("box", 0.2))  # 4 pixels on each side, 6 above and below
    assert np.array_equal(grown, pixels[14:56, 6:34])
    cut = face_crop(pixels, face(None, (-8, 40, 12, 70)), Crop("box", 0.5))
    assert np.array_equal(cut, pixels[25:60, 0:22])


def test_a_box_is_never_empty():
    pixels = np.zeros((6, 5, 3), np.uint8)
    for box in ((4.8, 5.9, 4.9, 6.0), (0, 0, 0.1, 0.1), (-3, 2, -1, 4)):
        assert face_crop(pixels, face(None, box), Crop("box")).size


def test_the_whole_image():
    pixels = np.zeros((6, 5, 3), np.uint8)
    assert face_crop(pixels, face(None), Crop("whole")) is pixels
