"""The pre-processing, by value: PIL's antialiased resize worked out by hand, and every step around it."""

import numpy as np
import pytest
from PIL import Image

from brevitas_defakeq.imaging.preprocessing import (
    Preprocessing,
    override,
    preprocess_array,
)
from brevitas_defakeq.utils.errors import UserError

RAW = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def pixels(values):
    """Back to 0..255 for a pre-processing without normalisation."""
    return np.round(values * 255).astype(np.int64)


def triangle_weights(size, target):
    """[target, size]: the triangle filter, widened by the reduction, each row summing to 1."""
    reduction = max(size / target, 1.0)
    centres = (np.arange(target) + 0.5) * size / target
    distance = (np.arange(size) + 0.5)[None] - centres[:, None]
    weights = np.clip(1 - np.abs(distance) / reduction, 0, None)
    return weights / weights.sum(1, keepdims=True)


def test_halving_a_row_by_hand():
    """Out 0 sees 3 pixels with weights 3/7, 3/7, 1/7: (0*3 + 70*3 + 140) / 7 = 50; out 1 mirrors it: 160."""
    row = np.array([0, 70, 140, 210], dtype=np.uint8)
    image = Image.fromarray(np.repeat(row[None], 4, axis=0))
    resized = pixels(preprocess_array(image, Preprocessing((2, 2), "bilinear", **RAW)))
    assert resized[0].tolist() == [[50, 160], [50, 160]]
    assert np.array_equal(resized[0], resized[1]) and np.array_equal(resized[0], resized[2])


@pytest.mark.parametrize(("height", "width"), [(5, 9), (7, 4), (16, 20)])
def test_resize_is_the_triangle_filter_rounded_after_each_pass(height, width):
    source = np.random.default_rng(0).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    across = np.einsum("ow,hwc->hoc", triangle_weights(20, width), source)
    across = np.floor(across + 0.5)
    expected = np.floor(np.einsum("oh,hwc->owc", triangle_weights(16, height), across) + 0.5)
    given = preprocess_array(Image.fromarray(source), Preprocessing((height, width), "bilinear", **RAW))
    assert given.shape == (3, height, width)
    assert np.array_equal(np.round(given * 255).transpose(1, 2, 0), expected)


def test_box_and_nearest_by_hand():
    image = Image.fromarray(np.array([[0, 100, 40, 60]], dtype=np.uint8))
    assert pixels(preprocess_array(image, Preprocessing((1, 2), "box", **RAW)))[0, 0].tolist() == [50, 50]
    assert pixels(preprocess_array(image, Preprocessing((1, 2), "nearest", **RAW)))[0, 0].tolist() == [
        100,
        60,
    ]


def test_normalisation_and_layout():
    image = Image.new("RGB", (3, 2), (255, 0, 51))
    values = preprocess_array(image, Preprocessing((2, 3), mean=(0.5, 0.25, 0.2), std=(0.5, 0.5, 0.1)))
    assert values.dtype == np.float32 and values.shape == (3, 2, 3) and values.flags.c_contiguous
    np.testing.assert_allclose(values[:, 0, 0], [1.0, -0.5, 0.0], atol=1e-6)


def test_whole_crop_is_kept():
    """No centre crop: the left edge of a wide image still reaches the result."""
    wide = np.zeros((8, 32), dtype=np.uint8)
    wide[:, :4] = 255
    assert (
        pixels(preprocess_array(Image.fromarray(wide), Preprocessing((8, 8), "box", **RAW)))[0, 0, 0] == 255
    )


def test_json_round_trip():
    given = Preprocessing((192, 160), "bicubic", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert Preprocessing.from_dict(given.to_dict()) == given
    assert given.to_dict()["input_size"] == [192, 160]
    with pytest.raises(UserError, match="unknown: crop"):
        Preprocessing.from_dict({"input_size": 8, "crop": 1})
    with pytest.raises(UserError, match="input_size is missing"):
        Preprocessing.from_dict({"mean": 0.5})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("input_size", 0),
        ("input_size", (224, 224, 3)),
        ("input_size", 224.5),
        ("interpolation", "area"),
        ("mean", (0.5, 0.5)),
        ("mean", "half"),
        ("std", 0),
        ("std", float("nan")),
    ],
)
def test_wrong_values_are_refused_in_one_line(field, value):
    with pytest.raises(UserError, match=field) as caught:
        override(Preprocessing((8, 8)), **{field: value})
    assert "\n" not in str(caught.value)


def test_override():
    changed = override(Preprocessing((8, 8)), input_size=192, mean=0.25, std=(1, 2, 3))
    assert changed == Preprocessing((192, 192), "bilinear", (0.25,) * 3, (1.0, 2.0, 3.0))
    assert override(changed) == changed
