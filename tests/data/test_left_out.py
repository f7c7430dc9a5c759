"""Files that a folder holds and that are not read are counted by suffix and said in one line."""

import io
import logging
import tarfile

import pytest
from PIL import Image

from brevitas_defakeq.data.check import check_source
from brevitas_defakeq.data.left_out import LeftOut
from brevitas_defakeq.data.selection import Selection
from brevitas_defakeq.data.sources import list_videos, read_source
from brevitas_defakeq.utils.errors import UserError


def fill(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in (".png", ".jfif"):
            Image.new("RGB", (4, 4)).save(path)
        else:
            path.touch()
    return folder


def said(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_a_folder_of_both_classes(tmp_path, caplog):
    folder = fill(
        tmp_path / "faces", "real/a.png", "real/b.JFIF", "fake/c.png", "fake/c.heic", "fake/deep/d.HEIC",
        "real/clip.mp4", "real/.DS_Store", "other/e.png",
    )  # fmt: skip
    assert len(read_source(folder)) == 3
    assert said(caplog) == [
        f"{folder}: left out: 2 .heic, 1 .mp4, folder other/ (.heic needs pip install pillow-heif)"
    ]


def test_nothing_is_said_of_a_folder_of_images(tmp_path, caplog):
    read_source(fill(tmp_path / "faces", "a.png", "b.png", ".hidden"))
    assert said(caplog) == []


def test_the_videos_of_a_folder(tmp_path, caplog):
    folder = fill(tmp_path, "a.mp4", "b.M4V", "a.srt", "cover.png")
    assert [video.path.name for video in list_videos(folder)] == ["a.mp4", "b.M4V"]
    assert len(said(caplog)) == 1 and "1 .srt" in said(caplog)[0] and "1 .png" in said(caplog)[0]


def test_a_folder_without_images_says_what_it_holds(tmp_path):
    folder = fill(tmp_path / "phone", "1.heic", "2.heic", "notes.txt")
    for refuse, what in (
        (read_source, "images"),
        (list_videos, "videos"),
        (check_source, "images and no videos"),
    ):
        with pytest.raises(UserError, match=rf"phone holds no {what}; it holds 2 \.heic, 1 \.txt"):
            refuse(folder)


def test_a_check_lists_it_among_the_problems(tmp_path, caplog):
    folder = fill(tmp_path / "faces", "real/a.png", "fake/b.png", "fake/b.heic", "fake/c.heic")
    found = check_source(folder)
    assert found["left_out"].startswith("2 .heic") and said(caplog) == []
    assert any("left out: 2 .heic" in problem for problem in found["problems"])


def test_the_frames_of_a_benchmark(tmp_path, caplog):
    for name in ("Celeb-real", "YouTube-real", "Celeb-synthesis"):
        fill(tmp_path / "Celeb-DF-v2" / name / "frames" / "id0", "000.png", "000.heic", "._000.png")
    read_source(tmp_path / "Celeb-DF-v2", Selection(split="all"))
    assert any("left out: 3 .heic" in line for line in said(caplog))


def test_the_members_of_a_shard(tmp_path, caplog):
    png = io.BytesIO()
    Image.new("RGB", (4, 4)).save(png, "PNG")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, content in (("1.png", png.getvalue()), ("1.cls", b"0"), ("1.txt", b"-"), ("2.heic", b"-")):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    assert len(read_source(tmp_path / "a.tar")) == 1
    assert len(said(caplog)) == 1 and "1 .txt" in said(caplog)[0] and "1 .heic" in said(caplog)[0]


def test_many_kinds_stay_one_short_line():
    left_out = LeftOut()
    for number in range(30):
        left_out.add(f"a.x{number}")
    left_out.folders = [f"f{number}" for number in range(12)]
    text = str(left_out)
    assert "22 others" in text and "4 more folders" in text and len(text) < 200
