"""Images of the test set are refused for calibration, by whatever way they came into both."""

import os
import shutil
import tarfile

import pytest
from PIL import Image

from brevitas_defakeq.data import source_overlap
from brevitas_defakeq.data.source_overlap import refuse_shared, shared_images
from brevitas_defakeq.data.sources import read_source
from brevitas_defakeq.utils.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """Eight images each in `train` and `test`, no two alike."""
    for index, split in enumerate(("train", "test")):
        for number in range(8):
            file = tmp_path / split / ("real", "fake")[number % 2] / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4), (number, index, 0)).save(file)
    return tmp_path


def both(folder):
    return read_source(folder / "train"), read_source(folder / "test")


def test_nothing_shared(folder):
    refuse_shared(*both(folder))
    assert shared_images(*both(folder)) == {}


def copied(source, target):
    shutil.copy(source, target)


@pytest.mark.parametrize("way", [copied, os.symlink, os.link])
def test_copies_and_links_are_found(folder, way):
    way(folder / "train/real/2.png", folder / "test/fake/renamed.png")
    with pytest.raises(UserError) as caught:
        refuse_shared(*both(folder))
    message = str(caught.value)
    assert "1 of 8 calibration images are in the test set too" in message and "\n" not in message
    assert f"{folder / 'train/real/2.png'} (there {folder / 'test/fake/renamed.png'})" in message


def test_a_linked_folder_is_found(folder):
    shutil.rmtree(folder / "test/real")
    os.symlink(folder / "train/real", folder / "test/real")
    assert len(shared_images(*both(folder))) == 4


def test_a_copy_in_a_shard_is_found(folder):
    with tarfile.open(folder / "more.tar", "w") as archive:
        archive.add(folder / "train/real/2.png", "x.png")
    found = shared_images(read_source(folder / "train"), read_source(folder / "more.tar"))
    assert found == {str(folder / "train/real/2.png"): str(folder / "more.tar/x.png")}
    again = shared_images(read_source(folder / "more.tar"), read_source(folder / "more.tar"))
    assert list(again) == [str(folder / "more.tar/x.png")]


def test_the_same_source_twice(folder, monkeypatch):
    """No file is read to find that."""
    train, _ = both(folder)
    monkeypatch.setattr(source_overlap, "file_sha256", lambda path: pytest.fail(f"{path} was read"))
    with pytest.raises(UserError, match="8 of 8 calibration images") as caught:
        refuse_shared(train, list(train))
    assert "(there" not in str(caught.value)


def test_only_files_of_an_equal_size_are_read(folder, monkeypatch):
    """Of a large test set next to nothing is read."""
    for number in range(8):
        file = folder / "test" / ("real", "fake")[number % 2] / f"{number}.png"
        file.write_bytes(file.read_bytes() + bytes(100 + number))
    monkeypatch.setattr(source_overlap, "file_sha256", lambda path: pytest.fail(f"{path} was read"))
    assert shared_images(*both(folder)) == {}


def test_files_that_are_gone(folder):
    train, test = both(folder)
    shutil.rmtree(folder / "test")
    assert shared_images(train, test) == shared_images(test, train) == {}
