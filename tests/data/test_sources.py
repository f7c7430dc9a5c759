"""Folders and CSV files, the good ones and the bad ones."""

import os

import pytest
from PIL import Image

from brevitas_defakeq.data.sources import Sample, data_hash, read_source
from brevitas_defakeq.errors import UserError


def save(path, colour=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (colour, 0, 0)).save(path)
    return path


@pytest.fixture
def labelled(tmp_path):
    root = tmp_path / "celeb"
    for name in ("real/b.png", "real/vid/2.png", "real/vid/1.PNG", "fake/b.jpg", "fake/deep/vid/0.jpg"):
        save(root / name)
    (root / "real/notes.txt").write_text("no image")
    save(root / "real/._b.png")
    save(root / "other/outside.png")
    return root


def test_labelled_folder(labelled):
    found = [(s.path.relative_to(labelled).as_posix(), s.label, s.video) for s in read_source(labelled)]
    assert found == [
        ("fake/b.jpg", 1, "fake/b"),
        ("fake/deep/vid/0.jpg", 1, "fake/deep/vid"),
        ("real/b.png", 0, "real/b"),
        ("real/vid/1.PNG", 0, "real/vid"),
        ("real/vid/2.png", 0, "real/vid"),
    ]
    assert {sample.dataset for sample in read_source(str(labelled))} == {"celeb"}


def test_class_folders_in_any_case_and_one_class_alone(tmp_path):
    save(tmp_path / "Real/a.png")
    assert [sample.label for sample in read_source(tmp_path)] == [0]


def test_plain_folder_has_no_labels(tmp_path):
    save(tmp_path / "a.png")
    save(tmp_path / "clip/b.webp")
    assert [(s.path.name, s.label, s.video) for s in read_source(tmp_path)] == [
        ("a.png", None, "a"),
        ("b.webp", None, "clip"),
    ]


def test_links_are_followed_once(tmp_path):
    save(tmp_path / "elsewhere/a.png")
    (tmp_path / "data/real").mkdir(parents=True)
    os.symlink(tmp_path / "elsewhere", tmp_path / "data/real/linked")
    os.symlink(tmp_path / "data/real", tmp_path / "data/real/loop")
    assert len(read_source(tmp_path / "data")) == 1


def test_csv(tmp_path):
    absolute = save(tmp_path / "far/c.png")
    save(tmp_path / "x/a.png")
    save(tmp_path / "x/b.png")
    listing = tmp_path / "list.csv"
    rows = f"x/b.png,FAKE,v1,ff,test\nx\\a.png,0,,,test\n{absolute},real,v2,,\n"
    listing.write_text("\ufeffPath, label ,video,dataset,split\n" + rows, encoding="utf-8")
    assert read_source(listing) == [
        Sample(absolute, 0, "v2", "list"),
        Sample(tmp_path / "x/a.png", 0, "x/a", "list"),
        Sample(tmp_path / "x/b.png", 1, "v1", "ff"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,score\na.png,1\n", "no column label"),
        ("", "no column path and no column label"),
        ("path,label\na.png,0\na.png,2\n", "line 3: label '2'"),
        ("path,label\na.png\n", "line 2: label None"),
        ("path,label\n,1\n", "line 2: the path is empty"),
        ("path,label\na.png,0\nlost.png,1\n", r"1 of 2 files do not exist.*lost.png \(line 3\)"),
        ("path,label\n", "holds no images"),
    ],
)
def test_bad_csv(tmp_path, text, message):
    save(tmp_path / "a.png")
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_source(tmp_path / "list.csv")
    assert "\n" not in str(caught.value)


def test_csv_that_is_no_text(tmp_path):
    (tmp_path / "list.csv").write_bytes(b"path,label\n\xff\xfe,1\n")
    with pytest.raises(UserError, match="not a CSV in UTF-8"):
        read_source(tmp_path / "list.csv")


def test_missing_empty_and_other_sources(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_source(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no images"):
        read_source(tmp_path)
    (tmp_path / "real").mkdir()
    (tmp_path / "fake").mkdir()
    with pytest.raises(UserError, match="holds no images"):
        read_source(tmp_path)
    with pytest.raises(UserError, match="neither a folder nor a .csv"):
        read_source(save(tmp_path / "a.png"))


def test_hash_depends_on_content_alone(tmp_path):
    for place in ("one", "two"):
        save(tmp_path / place / "real/a.png", 1)
        save(tmp_path / place / "fake/b.png", 2)
    first, second = read_source(tmp_path / "one"), read_source(tmp_path / "two")
    assert data_hash(first) == data_hash(second[::-1]) and len(data_hash(first)) == 64
    assert data_hash(first) != data_hash(first[:1])
    relabelled = [Sample(sample.path, 1, sample.video, sample.dataset) for sample in first]
    assert data_hash(first) != data_hash(relabelled)
    save(tmp_path / "two/fake/b.png", 3)
    assert data_hash(first) != data_hash(second)
