import numpy as np
import pytest
from PIL import Image

from brevitas_defakeq.data.image_batches import preprocess
from brevitas_defakeq.imaging.image_files import load_image
from brevitas_defakeq.runtime import Card, UserError
from brevitas_defakeq.runtime.model_input import batches, each_image, model_input, open_image


@pytest.fixture
def card_input(content):
    return lambda **changes: Card.from_json(content(**{f"input__{k}": v for k, v in changes.items()})).input


def test_same_values_as_training(card_input, noise, tmp_path):
    expected = card_input()
    Image.fromarray(noise(31, 17)).save(tmp_path / "face.png")
    trained = preprocess(load_image(tmp_path / "face.png"), expected.preprocessing).numpy()
    values = model_input(tmp_path / "face.png", expected)
    assert values.dtype == np.float32 and values.shape == (3, 6, 4)
    np.testing.assert_array_equal(values, trained)
    turned = model_input(tmp_path / "face.png", card_input(layout="NHWC"))
    np.testing.assert_array_equal(turned, trained.transpose(1, 2, 0))


def test_uint8_passes_pixels_through(card_input, noise):
    pixels = noise(31, 17)
    whole = model_input(pixels, card_input(dtype="uint8", layout="NHWC"))
    assert whole.dtype == np.uint8
    np.testing.assert_array_equal(whole, pixels)
    channels_first = model_input(pixels, card_input(dtype="uint8"))
    np.testing.assert_array_equal(channels_first, pixels.transpose(2, 0, 1))


def test_every_way_to_give_an_image(noise, tmp_path):
    pixels = noise()
    Image.fromarray(pixels).save(tmp_path / "face.png")
    given = [tmp_path / "face.png", str(tmp_path / "face.png"), Image.open(tmp_path / "face.png"), pixels]
    for image in given:
        np.testing.assert_array_equal(np.asarray(open_image(image)), pixels)


def test_grey_is_repeated_and_alpha_dropped(noise):
    pixels = noise()
    grey, alpha = pixels[:, :, 0], np.dstack([pixels, pixels[:, :, 1]])
    for image in (grey, grey[:, :, None], Image.fromarray(grey)):
        np.testing.assert_array_equal(np.asarray(open_image(image)), np.dstack([grey] * 3))
    for image in (alpha, Image.fromarray(alpha)):
        np.testing.assert_array_equal(np.asarray(open_image(image)), pixels)


def test_turned_upright_in_memory_as_from_file(noise, tmp_path):
    image = Image.fromarray(noise())
    image.getexif()[0x0112] = 6  # orientation: turn clockwise by a quarter
    image.save(tmp_path / "face.png", exif=image.getexif())
    from_file = np.asarray(open_image(tmp_path / "face.png"))
    np.testing.assert_array_equal(from_file, np.rot90(noise(), -1))
    np.testing.assert_array_equal(np.asarray(open_image(Image.open(tmp_path / "face.png"))), from_file)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.zeros((6, 4, 3), np.float32), "give uint8"),
        (np.zeros((6, 4, 2), np.uint8), "no image"),
        (np.zeros((6,), np.uint8), "no image"),
        (np.zeros((0, 4, 3), np.uint8), "no image"),
        (7, "type int"),
        (None, "type NoneType"),
        ("nowhere.png", "nowhere.png cannot be read as an image"),
        (Image.new("F", (4, 6), 300.0), "floating-point"),
    ],
)
def test_what_is_no_image(image, reason):
    with pytest.raises(UserError, match=reason) as refusal:
        open_image(image)
    assert "\n" not in str(refusal.value)


def test_damaged_file_is_refused_however_it_is_given(noise, tmp_path):
    path = tmp_path / "face.png"
    Image.fromarray(noise(64, 64)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match="cannot be read"):
        open_image(path)
    with pytest.raises(UserError, match="cannot be read"):
        open_image(Image.open(path))


def test_one_or_many(noise):
    one = noise()
    assert len(list(each_image(one))) == len(list(each_image("face.png"))) == 1
    assert len(list(each_image(np.stack([one, one])))) == len(list(each_image((one, "face.png")))) == 2
    assert list(each_image([])) == []
    for wrong in (None, 3):
        with pytest.raises(UserError, match="give a path"):
            each_image(wrong)


def test_batches_keep_order_and_split_where_the_shape_changes():
    items = [np.full(shape, index) for index, shape in enumerate([2, 2, 2, 3, 2])]
    stacked = list(batches(items, 2))
    assert [batch.shape for batch in stacked] == [(2, 2), (1, 2), (1, 3), (1, 2)]
    assert [row[0] for batch in stacked for row in batch] == [0, 1, 2, 3, 4]
