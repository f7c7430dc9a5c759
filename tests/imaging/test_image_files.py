"""Reading images: order, memory, and what happens to damaged files."""

import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

from brevitas_defakeq.data.sources import read_source
from brevitas_defakeq.imaging import image_files
from brevitas_defakeq.imaging.image_files import iterate_batches, load_batch, load_image, usable
from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.utils.errors import UserError

PLAIN = Preprocessing((4, 4), "nearest", 0.0, 1.0)


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


def test_pictures_are_turned_upright(tmp_path):
    picture = Image.new("RGB", (4, 2))
    exif = picture.getexif()
    exif[0x0112] = 6  # turn by 90 degrees
    picture.save(tmp_path / "phone.jpg", exif=exif)
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


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("batch_size", [1, 3, 7, 9])
def test_batches_keep_the_order(folder, workers, batch_size):
    samples = read_source(folder)
    batches = list(iterate_batches(samples, PLAIN, batch_size, workers=workers))
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    joined = torch.cat(batches)
    assert torch.equal(joined, load_batch(samples, PLAIN))
    assert (joined[:, 0, 0, 0] * 255).round().tolist() == list(range(7))


def test_pictures_may_come_from_elsewhere(folder):
    """Perturbed, drawn or decoded: ``read`` gives a sample's picture in the file's place."""
    samples = read_source(folder)

    def read(sample):
        return Image.new("RGB", (2, 2), (100 + samples.index(sample),) * 3)

    for workers in (0, 2):
        joined = torch.cat(list(iterate_batches(samples, PLAIN, 3, workers=workers, read=read)))
        assert (joined[:, 0, 0, 0] * 255).round().tolist() == list(range(100, 107))


def test_reading_ahead_is_bounded(folder, monkeypatch):
    samples = read_source(folder) * 10
    loaded, lock = [], threading.Lock()

    def counting(chunk, preprocessing, read):
        with lock:
            loaded.append(len(chunk))
        return torch.zeros(len(chunk))

    monkeypatch.setattr(image_files, "load_batch", counting)
    stream = iterate_batches(samples, PLAIN, 1, workers=2)
    next(stream)
    time.sleep(0.1)
    assert len(loaded) <= 3
    stream.close()


def test_a_bad_image_stops_the_stream_with_its_name(folder):
    (folder / "3.png").write_bytes(b"broken")
    with pytest.raises(UserError, match="3.png"):
        list(iterate_batches(read_source(folder), PLAIN, 2))


def test_wrong_batch_size(folder):
    with pytest.raises(UserError, match="batch_size=0"):
        next(iterate_batches(read_source(folder), PLAIN, 0))
    assert load_batch([], PLAIN).shape == (0, 3, 4, 4)


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
