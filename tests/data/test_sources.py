"""Folders and CSV files, the good ones and the bad ones."""

import csv
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from brevitas_defakeq.data.selection import Selection
from brevitas_defakeq.data.sources import Sample, data_hash, list_videos, read_source
from brevitas_defakeq.imaging.sample import Video
from brevitas_defakeq.utils.errors import UserError


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


def test_the_splits_of_a_csv(tmp_path):
    for name in "abcd":
        save(tmp_path / f"{name}.png")
    listing = tmp_path / "list.csv"
    listing.write_text("path,label,split\na.png,0,train\nb.png,1,Validation\nc.png,1,train\nd.png,0,\n")

    def names(split):
        return [sample.path.stem for sample in read_source(listing, Selection(split=split))]

    assert names("train") == ["a", "c", "d"] and names("val") == ["b", "d"] and names("all") == [*"abcd"]
    with pytest.raises(UserError, match="no rows of split test; its column split says train, val"):
        names("test")


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
        (
            "path,label\na.png,0\na.png,1\n",
            "1 files are listed both as real and as fake, the first is .*a.png",
        ),
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
    for folder in ("one", "two"):
        save(tmp_path / folder / "real/a.png", 1)
        save(tmp_path / folder / "fake/b.png", 2)
    first, second = read_source(tmp_path / "one"), read_source(tmp_path / "two")
    assert data_hash(first) == data_hash(second[::-1]) and len(data_hash(first)) == 64
    assert data_hash(first) != data_hash(first[:1])
    relabelled = [Sample(sample.path, 1, sample.video, sample.dataset) for sample in first]
    assert data_hash(first) != data_hash(relabelled)
    save(tmp_path / "two/fake/b.png", 3)
    assert data_hash(first) != data_hash(second)


def test_folders_of_other_names(tmp_path):
    """`0_real/` and `1_fake/`, as generators' own data sets have them."""
    for name in ("0_real/a.png", "1_fake/b.png", "1_fake/clip/0.png", "2_else/c.png"):
        save(tmp_path / name)
    assert [(s.path.name, s.label, s.video) for s in read_source(tmp_path)] == [
        ("a.png", 0, "0_real/a"), ("b.png", 1, "1_fake/b"), ("0.png", 1, "1_fake/clip")
    ]  # fmt: skip


def test_csv_with_manipulations(tmp_path):
    for name in "abc":
        save(tmp_path / f"{name}.png")
    listing = tmp_path / "list.csv"
    listing.write_text(
        "manipulation,path,label,dataset\nFF-DF,a.png,1,ff\n,b.png,0,ff\n swap ,c.png,1,other\n"
    )
    assert [(s.manipulation, s.dataset) for s in read_source(listing)] == [
        ("FF-DF", "ff"), ("", "ff"), ("swap", "other")
    ]  # fmt: skip
    chosen = read_source(listing, Selection(datasets=("other",)))
    assert [sample.path.name for sample in chosen] == ["c.png"]
    with pytest.raises(UserError, match="has no data set third; it has ff, other"):
        read_source(listing, Selection(datasets=("ff", "third")))


def test_frames_of_a_video(tmp_path):
    for number in (1, 2, 10, 20):
        save(tmp_path / f"real/clip/{number}.png")
        save(tmp_path / f"fake/{number}.png")

    def taken(**selection):
        return [
            sample.path.stem for sample in read_source(tmp_path, Selection(**selection)) if not sample.label
        ]

    assert taken() == ["1", "10", "2", "20"], "by name"
    assert taken(frames=3, first=True) == ["1", "10", "2"]
    assert taken(frames=2) == ["1", "20"]
    assert len(read_source(tmp_path, Selection(frames=1))) == 5, (
        "images in the class folder are each their own"
    )


def test_videos_in_folders_csv_and_plain(tmp_path):
    for name in ("real/a.mp4", "real/deep/b.MOV", "fake/a.avi", "fake/notes.txt", "fake/.hidden.mp4"):
        (tmp_path / "clips" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "clips" / name).touch()
    clips = tmp_path / "clips"
    assert list_videos(clips) == [
        Video(clips / "fake/a.avi", 1, "fake/a", "clips"),
        Video(clips / "real/a.mp4", 0, "real/a", "clips"),
        Video(clips / "real/deep/b.MOV", 0, "real/deep/b", "clips"),
    ]
    assert list_videos(clips / "real/deep") == [Video(clips / "real/deep/b.MOV", None, "b", "deep")]
    listing = tmp_path / "list.csv"
    listing.write_text("path,label,video,manipulation\nclips/fake/a.avi,1,v,swap\nclips/fake/notes.txt,1,,\n")
    assert list_videos(listing) == [Video(clips / "fake/a.avi", 1, "v", "list", "swap")]
    listing.write_text("path,label\nclips/fake/notes.txt,1\n")
    with pytest.raises(UserError, match="list.csv holds no videos; it holds 1 .txt"):
        list_videos(listing)
    (tmp_path / "index.json").write_text("{}")
    with pytest.raises(UserError, match="a DeepfakeBench index lists images, not videos"):
        list_videos(tmp_path / "index.json")


WORDS = st.from_regex(r"[a-z0-9_]{1,5}", fullmatch=True)


@settings(max_examples=15, deadline=None)
@given(
    numbered=st.booleans(),
    videos=st.dictionaries(
        st.tuples(st.sampled_from((0, 1)), WORDS), st.sets(st.integers(0, 99), min_size=1, max_size=4),
        min_size=1, max_size=5,
    ),
)  # fmt: skip
def test_random_class_folders_and_csv(tmp_path_factory, numbered, videos):
    root = tmp_path_factory.mktemp("own")
    folders = ("0_real", "1_fake") if numbered else ("Real", "FAKE")
    wanted, rows = [], [("label", "path", "video", "dataset", "manipulation")]
    for (label, name), frames in videos.items():
        for frame in frames:
            file = root / "set" / folders[label] / name / f"{frame}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
            wanted.append(Sample(file, label, f"{folders[label]}/{name}", "set"))
            relative = file.relative_to(root).as_posix().replace("/", "\\" if frame % 2 else "/")
            rows.append((("real", "1")[label], relative, name, f"d{frame % 3}", "m" * label))
    assert read_source(root / "set") == sorted(wanted, key=lambda sample: sample.path.as_posix())
    with open(root / "list.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    assert read_source(root / "list.csv") == sorted(
        (
            Sample(root / path.replace("\\", "/"), int(label == "1"), video, dataset, manipulation)
            for label, path, video, dataset, manipulation in rows[1:]
        ),
        key=lambda sample: sample.path.as_posix(),
    )


def test_an_absolute_path_in_a_csv_elsewhere(tmp_path):
    image = save(tmp_path / "far/a.png")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/list.csv").write_text(f"path,label\n{image},1\n../far/a.png,1\n")
    assert {sample.path.resolve() for sample in read_source(tmp_path / "lists/list.csv")} == {Path(image)}
