"""Batches of images: order, bounded reading ahead, errors."""

import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

from brevitas_defakeq.data import image_batches
from brevitas_defakeq.data.image_batches import iterate_batches, load_batch, preprocess
from brevitas_defakeq.data.sources import read_source
from brevitas_defakeq.imaging.preprocessing import Preprocessing, preprocess_array
from brevitas_defakeq.utils.errors import UserError

PLAIN = Preprocessing((4, 4), "nearest", 0.0, 1.0)


@pytest.fixture
def folder(tmp_path):
    for index in range(7):
        Image.new("RGB", (8, 8), (index, 0, 0)).save(tmp_path / f"{index}.png")
    return tmp_path


def test_the_tensor_holds_the_arrays_values():
    image = Image.new("RGB", (3, 2), (255, 0, 51))
    tensor = preprocess(image, Preprocessing((2, 3)))
    assert tensor.dtype == torch.float32 and tensor.is_contiguous()
    assert np.array_equal(tensor.numpy(), preprocess_array(image, Preprocessing((2, 3))))


def test_torch_without_antialiasing_gives_other_values():
    """The row of `test_halving_a_row_by_hand`, where PIL gives 50 and 160."""
    row = torch.tensor([0.0, 70.0, 140.0, 210.0]).expand(1, 1, 4, 4)
    plain = torch.nn.functional.interpolate(row, (2, 2), mode="bilinear", align_corners=False)
    assert plain[0, 0, 0].tolist() == [35.0, 175.0]


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("batch_size", [1, 3, 7, 9])
def test_batches_keep_the_order(folder, workers, batch_size):
    samples = read_source(folder)
    batches = list(iterate_batches(samples, PLAIN, batch_size, workers=workers))
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    joined = torch.cat(batches)
    assert torch.equal(joined, load_batch(samples, PLAIN))
    assert (joined[:, 0, 0, 0] * 255).round().tolist() == list(range(7))


def test_images_may_come_from_elsewhere(folder):
    """Perturbed, drawn or decoded: ``read`` gives a sample's image instead of its file."""
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

    monkeypatch.setattr(image_batches, "load_batch", counting)
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
