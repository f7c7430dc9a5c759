"""Labelled data from files and from tensors: order, labels, and both classes or a clear line."""

import pytest
import torch
from PIL import Image

from brevitas_defakeq import UserError
from brevitas_defakeq.data.labelled_set import LabelledSet
from brevitas_defakeq.data.sources import Sample
from brevitas_defakeq.imaging.preprocessing import Preprocessing

HOW = Preprocessing(4, mean=0.0, std=1.0)


@pytest.fixture
def folder(tmp_path):
    """Ten reals and ten fakes, each of one grey that tells which it is."""
    for label, name in enumerate(("real", "fake")):
        (tmp_path / name).mkdir()
        for index in range(10):
            Image.new("RGB", (6, 6), (index * 20 + label * 10,) * 3).save(tmp_path / name / f"{index}.png")
    return tmp_path


def check(found, count):
    images = torch.cat(list(found.batches()))
    assert images.shape == (count, 3, 4, 4) and len(found.samples) == count
    for sample, image in zip(found.samples, images, strict=True):
        grey = int(sample.path.stem) * 20 + sample.label * 10
        torch.testing.assert_close(image, torch.full((3, 4, 4), grey / 255))


def test_from_a_folder_in_the_samples_order(folder):
    found = LabelledSet.from_source(folder, HOW)
    check(found, 20)
    check(found, 20)  # its batches can be read again
    assert {sample.dataset for sample in found.samples} == {folder.name}


def test_from_a_csv_and_from_samples(folder):
    rows = ["path,label", *(f"{name}/{index}.png,{name}" for index in (3, 1) for name in ("fake", "real"))]
    (folder / "test.csv").write_text("\n".join(rows))
    check(LabelledSet.from_source(str(folder / "test.csv"), HOW), 4)
    samples = [Sample(folder / name / "7.png", label, "7", "x") for label, name in ((1, "fake"), (0, "real"))]
    check(LabelledSet.from_source(samples, HOW), 2)


def test_from_tensors():
    images = torch.arange(20.0).view(20, 1, 1, 1).expand(20, 3, 2, 2)
    found = LabelledSet.from_tensors(images, torch.arange(20) % 2, ["a"] * 5 + ["b"] * 15)
    assert torch.equal(torch.cat(list(found.batches())), images)
    assert [sample.label for sample in found.samples] == [index % 2 for index in range(20)]
    assert [sample.dataset for sample in found.samples] == ["a"] * 5 + ["b"] * 15
    assert len({sample.video for sample in found.samples}) == 20
    assert {sample.dataset for sample in LabelledSet.from_tensors(images, [0, 1] * 10).samples} == {"test"}


def test_one_class_is_refused_before_anything_is_read(folder):
    for file in (folder / "fake").iterdir():
        file.unlink()
    with pytest.raises(UserError, match="only the label 0, but an AUC needs real and fake"):
        LabelledSet.from_source(folder, HOW)
    with pytest.raises(UserError, match="images without a label"):
        LabelledSet.from_source(folder / "real", HOW)
    with pytest.raises(UserError, match="the test tensors: only the label 1"):
        LabelledSet.from_tensors(torch.zeros(3, 3, 2, 2), [1, 1, 1])
    with pytest.raises(UserError, match="the test data: images without a label"):
        LabelledSet.from_source([Sample(folder / "a.png", None, "a", "a")] * 2, HOW)


@pytest.mark.parametrize("labels", [[0, 1], [0, 1, 1, 0, 1]])
def test_as_many_labels_as_images(labels):
    with pytest.raises(UserError, match="3 images"):
        LabelledSet.from_tensors(torch.zeros(3, 3, 2, 2), labels)


def test_a_broken_image_is_named(folder):
    (folder / "fake" / "4.png").write_bytes(b"broken")
    with pytest.raises(UserError, match="fake/4.png cannot be read as an image"):
        list(LabelledSet.from_source(folder, HOW).batches())
