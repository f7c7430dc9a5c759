"""Reading images: pixel formats, orientation and damaged files."""

import numpy as np
import pytest
from PIL import Image

from brevitas_defakeq.data.sources import read_source
from brevitas_defakeq.imaging.image_files import load_image, usable
from brevitas_defakeq.utils.errors import UserError


@pytest.fixture
def folder(tmp_path):
    for index in range(7):
        Image.new("RGB", (8, 8), (index, 0, 0)).save(tmp_path / f"{index}.png")
    return tmp_path


def noise(path, **options):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def test_modes_become_rgb(tmp_path):
    Image.fromarray(np.full((2, 2), 65535, np.uint16)).save(tmp_path / "sixteen.png")
    Image.new("RGBA", (2, 2), (1, 2, 3, 4)).save(tmp_path / "alpha.png")
    Image.new("L", (2, 2), 5).save(tmp_path / "grey.png")
    Image.new("P", (2, 2), 0).save(tmp_path / "palette.png", transparency=b"\x00")
    found = {path.stem: load_image(path) for path in tmp_path.iterdir()}
    assert {image.mode for image in found.values()} == {"RGB"}
    assert found["sixteen"].getpixel((0, 0)) == (255, 255, 255)
    assert found["alpha"].getpixel((0, 0)) == (1, 2, 3)
    assert found["grey"].getpixel((0, 0)) == (5, 5, 5)


def test_images_are_turned_upright(tmp_path):
    image = Image.new("RGB", (4, 2))
    exif = image.getexif()
    exif[0x0112] = 6  # turn by 90 degrees
    image.save(tmp_path / "phone.jpg", exif=exif)
    assert load_image(tmp_path / "phone.jpg").size == (2, 4)


@pytest.mark.filterwarnings("ignore")  # PIL warns about some damaged tags before it gives up
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif"])
def test_damaged_files_never_raise_anything_else(tmp_path, suffix):
    """Cut or overwritten anywhere, a file either still decodes or gives one line that names it."""
    intact = noise(tmp_path / f"a.{suffix}").read_bytes()
    generator = np.random.default_rng(1)
    damaged = tmp_path / f"damaged.{suffix}"
    for _ in range(40):
        content = bytearray(intact)
        content[generator.integers(len(content))] = generator.integers(256)
        damaged.write_bytes(content[: generator.integers(1, len(content) + 1)])
        try:
            load_image(damaged)
        except UserError as error:
            assert f"damaged.{suffix}" in str(error) and "\n" not in str(error)


def test_truncated_missing_and_foreign_files(tmp_path):
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(noise(tmp_path / "a.jpg").read_bytes()[:-400])
    with pytest.raises(UserError, match="cut.jpg cannot be read as an image.*truncated"):
        load_image(cut)
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(UserError, match="text.png.*no known image format"):
        load_image(tmp_path / "text.png")
    with pytest.raises(UserError, match="gone.png.*does not exist"):
        load_image(tmp_path / "gone.png")


def test_usable(folder):
    samples = read_source(folder)
    assert usable(samples) == (samples, [])
    (folder / "2.png").write_bytes(b"broken")
    with pytest.raises(UserError, match="1 of 7 images cannot be used.*2.png.*skip"):
        usable(samples, on_corrupt="refuse")
    kept, skipped = usable(samples, on_corrupt="skip")
    assert skipped == [samples[2]] and kept == samples[:2] + samples[3:]
    with pytest.raises(UserError, match="1 of 1 images"):
        usable(skipped, on_corrupt="skip")
    with pytest.raises(UserError, match="refuse or skip"):
        usable(samples, on_corrupt="ignore")
