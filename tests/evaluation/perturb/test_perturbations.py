"""Perturbations by value: against OpenCV where it defines them, else against their definitions by hand."""

import io
import math
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brevitas_defakeq.data.procedural import draw
from brevitas_defakeq.data.sources import Sample
from brevitas_defakeq.evaluation.perturb.perturbations import (
    LEVELS,
    PERTURBATIONS,
    Perturbation,
    chosen_levels,
    chosen_names,
    perturb,
    perturbed,
)
from brevitas_defakeq.utils.errors import UserError

cv2 = pytest.importorskip("cv2")


@pytest.fixture(scope="module")
def face():
    """A drawn face, uint8 [256, 256, 3]."""
    return draw(0, seed=5, size=256).image


@pytest.fixture(scope="module")
def grains():
    """Every value of every channel, uint8 [120, 90, 3]."""
    return np.random.default_rng(0).integers(0, 256, (120, 90, 3), dtype=np.uint8)


def rng(seed=0):
    return np.random.default_rng(seed)


def apply(name, level, pixels, seed=0):
    before = pixels.copy()
    found = perturb(pixels, name, level, rng(seed))
    np.testing.assert_array_equal(pixels, before)
    assert found.dtype == np.uint8 and found.shape == pixels.shape
    return found


def near(found, expected, *, most, mean):
    difference = np.abs(found.astype(int) - expected.astype(int))
    assert difference.max() <= most and difference.mean() <= mean, (difference.max(), difference.mean())


def test_the_values_of_the_levels():
    given = {name: kind.values for name, kind in PERTURBATIONS.items()}
    assert given == {
        "saturation": (0.4, 0.3, 0.2, 0.1, 0.0),
        "contrast": (0.85, 0.725, 0.6, 0.475, 0.35),
        "blocks": (16, 32, 48, 64, 80),
        "noise": (0.001, 0.002, 0.005, 0.01, 0.05),
        "blur": (7, 9, 13, 17, 21),
        "pixelation": (2, 3, 4, 5, 6),
        "jpeg": (90, 70, 50, 30, 10),
        "low_light": (0.5, 0.25, 0.12, 0.06, 0.03),
        "occlusion": (0.05, 0.1, 0.2, 0.3, 0.4),
    }
    codes = ("CS", "CC", "BW", "GNC", "GB", "JPEG", None, None, None)
    assert tuple(kind.code for kind in PERTURBATIONS.values()) == codes


@pytest.mark.parametrize("level", LEVELS)
def test_saturation_by_opencv(face, grains, level):
    kept = PERTURBATIONS["saturation"].values[level - 1]
    for image in (face, grains):
        planes = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2YCrCb)
        planes[..., 1:] = 0.5 + (planes[..., 1:] - 0.5) * np.float32(kept)
        expected = cv2.cvtColor(planes, cv2.COLOR_YCrCb2RGB).clip(0, 255).astype(np.uint8)
        near(apply("saturation", level, image), expected, most=1, mean=0.002)


def test_saturation_at_its_end_is_grey(face):
    found = apply("saturation", 5, face).astype(int)
    assert np.ptp(found, axis=2).max() <= 1
    luma = face @ np.array([0.299, 0.587, 0.114])
    assert np.abs(found[..., 0] - luma).max() <= 1


@pytest.mark.parametrize("level", LEVELS)
def test_contrast_by_opencv(face, grains, level):
    factor = PERTURBATIONS["contrast"].values[level - 1]
    for image in (face, grains):
        scaled = cv2.multiply(image.astype(np.float32), (factor,) * 4)
        np.testing.assert_array_equal(apply("contrast", level, image), scaled.astype(np.uint8))
    assert apply("contrast", 5, np.full((1, 1, 3), 255, np.uint8)).tolist() == [[[89] * 3]]  # 89.25


@pytest.mark.parametrize("level", LEVELS)
def test_blur_by_opencv(face, level):
    size = PERTURBATIONS["blur"].values[level - 1]
    expected = cv2.GaussianBlur(face, (size, size), size / 6)
    near(apply("blur", level, face), expected, most=2, mean=0.2)
    exact = cv2.GaussianBlur(face.astype(np.float32), (size, size), size / 6)
    near(apply("blur", level, face), np.rint(exact), most=1, mean=0.001)


@pytest.mark.parametrize("level", LEVELS)
def test_pixelation_by_opencv(face, grains, level):
    factor = PERTURBATIONS["pixelation"].values[level - 1]
    for image in (face, grains):
        height, width = image.shape[:2]
        small = cv2.resize(image, (width // factor, height // factor))
        near(apply("pixelation", level, image), cv2.resize(small, (width, height)), most=1, mean=0.005)


def test_pixelation_of_a_tiny_image():
    assert apply("pixelation", 5, np.full((3, 4, 3), 9, np.uint8)).tolist() == [[[9] * 3] * 4] * 3


@pytest.mark.parametrize("level", LEVELS)
def test_blocks_are_grey_squares(level):
    count = PERTURBATIONS["blocks"].values[level - 1]
    for shape, times in (((256, 300), 1), ((520, 700), 2), ((255, 900), 0)):
        white = np.full((*shape, 3), 255, np.uint8)
        found = apply("blocks", level, white)
        grey = (found == 128).all(axis=2)
        assert ((found == 255).all(axis=2) | grey).all()
        generator = rng()
        tops = generator.integers(0, shape[0] - 7, count * times)
        lefts = generator.integers(0, shape[1] - 7, count * times)
        expected = np.zeros(shape, bool)
        for top, left in zip(tops, lefts, strict=True):
            expected[top : top + 8, left : left + 8] = True
        np.testing.assert_array_equal(grey, expected)
    assert not grey.any()


def test_blocks_may_touch_every_border():
    white = np.full((256, 256, 3), 255, np.uint8)
    reached = np.zeros((256, 256), bool)
    for seed in range(60):
        reached |= (apply("blocks", 5, white, seed) == 128).all(axis=2)
    assert reached[0].any() and reached[-1].any() and reached[:, 0].any() and reached[:, -1].any()


#: Standard deviation of blue, green and red on grey 128 at each level, measured with the original.
NOISE_BGR = [(18.8, 11.9, 15.9), (26.6, 16.9, 22.4), (41.9, 26.6, 35.6), (57.6, 37.6, 50.1), (93, 75, 87)]


@pytest.mark.parametrize("level", LEVELS)
def test_noise_spreads_as_defined(level):
    grey = np.full((300, 300, 3), 128, np.uint8)
    found = apply("noise", level, grey).astype(float)
    np.testing.assert_allclose(found.std(axis=(0, 1))[::-1], NOISE_BGR[level - 1], rtol=0.02)
    if level <= 2:  # nothing is clipped: a truncation of zero-mean noise
        np.testing.assert_allclose(found.mean(axis=(0, 1)), 127.5, atol=0.3)


def test_noise_is_independent_in_luma_and_chroma():
    """Sigma on the scale of 255: sqrt(p) 296.9 in luma, sqrt(p) 290.3 in chroma."""
    grey = np.full((400, 400, 3), 128, np.uint8)
    planes = cv2.cvtColor(apply("noise", 1, grey).astype(np.float32), cv2.COLOR_RGB2YCrCb).reshape(-1, 3)
    scale = math.sqrt(0.001)
    np.testing.assert_allclose(planes.std(axis=0), scale * np.array([296.9, 290.3, 290.3]), rtol=0.01)
    assert np.abs(np.corrcoef(planes.T) - np.eye(3)).max() < 0.02


@pytest.mark.parametrize("level", LEVELS)
def test_jpeg_is_pils(face, level):
    file = io.BytesIO()
    Image.fromarray(face).save(file, "JPEG", quality=(90, 70, 50, 30, 10)[level - 1])
    np.testing.assert_array_equal(apply("jpeg", level, face), np.asarray(Image.open(file)))


@pytest.mark.parametrize("level", LEVELS)
def test_low_light_by_its_mean_and_spread(level):
    gain = (0.5, 0.25, 0.12, 0.06, 0.03)[level - 1]
    value = 200
    found = apply("low_light", level, np.full((200, 200, 3), value, np.uint8)).astype(float) / 255
    light = np.where(found <= 0.04045, found / 12.92, ((found + 0.055) / 1.055) ** 2.4)
    expected = gain * ((value / 255 + 0.055) / 1.055) ** 2.4
    assert light.mean() == pytest.approx(expected, rel=0.02)
    spread = math.sqrt(expected / 1000 + 0.005**2)
    assert light.std() == pytest.approx(spread, rel=0.05)


def test_low_light_of_black_and_white():
    black, white = (apply("low_light", 1, np.full((64, 64, 3), value, np.uint8)) for value in (0, 255))
    assert black.max() <= 50 and (black == 0).mean() > 0.4  # only what reading adds, half of it below 0
    assert abs(white.mean() - 188) < 2  # half the light of white in sRGB


@pytest.mark.parametrize("level", LEVELS)
def test_occlusion_covers_its_share_with_the_mean(grains, level):
    share = (0.05, 0.1, 0.2, 0.3, 0.4)[level - 1]
    found = apply("occlusion", level, grains, seed=3)
    mean = np.rint(grains.mean(axis=(0, 1)))
    rows, columns = np.nonzero((found != grains).any(axis=2))
    top, left, bottom, right = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
    assert (found[top:bottom, left:right] == mean).all()
    assert (bottom - top, right - left) == (round(120 * share**0.5), round(90 * share**0.5))
    assert (bottom - top) * (right - left) / (120 * 90) == pytest.approx(share, rel=0.05)
    outside = np.ones((120, 90), bool)
    outside[top:bottom, left:right] = False
    np.testing.assert_array_equal(found[outside], grains[outside])


# ---------------------------------------------------------------------------------------- seeds and names


def reader(face):
    return lambda sample: Image.fromarray(face)


@pytest.mark.parametrize("name", ["blocks", "noise", "low_light", "occlusion"])
def test_chance_depends_on_seed_path_and_level_alone(face, name):
    def one(path, level, seed):
        sample = Sample(Path(path), 0, "v", "d")
        return np.asarray(perturbed(reader(face), name, level, seed)(sample))

    first = one("a/1.png", 2, 0)
    np.testing.assert_array_equal(first, one("a/1.png", 2, 0))
    expected = perturb(face, name, 2, np.random.default_rng([0, zlib.crc32(b"a/1.png"), 2]))
    np.testing.assert_array_equal(first, expected)
    for other in (one("a/2.png", 2, 0), one("a/1.png", 2, 1)):
        assert (first != other).any()


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_a_higher_level_is_further_off(face, name):
    errors = [np.square(apply(name, level, face).astype(float) - face).mean() for level in LEVELS]
    assert errors == sorted(errors) and errors[0] > 0


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_odd_shapes_are_kept(name):
    for shape in ((1, 1), (7, 300), (301, 5)):
        apply(name, 3, np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8))


def test_names_and_levels():
    assert chosen_names("all") == chosen_names(["all", "blur"]) == list(PERTURBATIONS)
    assert chosen_names("jpeg, blur") == chosen_names(("jpeg", "blur")) == ["blur", "jpeg"]
    assert chosen_levels([5, 1, 1]) == [1, 5]
    for names in ("fog", "", [], "blur,"):
        with pytest.raises(UserError, match="is not known; choose all, or of saturation"):
            chosen_names(names)
    for levels in ([], [0], [6], [1.5]):
        with pytest.raises(UserError, match="give some of 1"):
            chosen_levels(levels)
    for name, level in (("fog", 1), ("all", 1), ("jpeg", 0), ("jpeg", 6)):
        with pytest.raises(UserError, match=f"perturbation '{name}', level {level}: choose of saturation"):
            perturb(np.zeros((8, 8, 3), np.uint8), name, level, rng())


def test_a_wrong_perturbation_is_told_in_one_line(grains, monkeypatch):
    with pytest.raises(UserError, match="perturbation grey: 2 values; give one for each of 5 levels"):
        Perturbation("grey", None, "share", (0.1, 0.2), lambda pixels, *_: pixels)
    for result, found in ((grains.astype(float), "float64"), (grains[..., 0], "uint8"), (None, "object")):
        wrong = Perturbation("grey", None, "share", (1, 2, 3, 4, 5), lambda *_, result=result: result)
        monkeypatch.setitem(PERTURBATIONS, "grey", wrong)
        with pytest.raises(UserError, match=f"perturbation grey gave {found}"):
            perturb(grains, "grey", 1, rng())
