"""Indexes that are wrong, or lie elsewhere than their frames."""

import json
import logging
import shutil

import pytest

from brevitas_defakeq.data.selection import Selection
from brevitas_defakeq.data.sources import read_source
from brevitas_defakeq.utils.errors import UserError


def video(label, *frames):
    return {"label": label, "frames": list(frames)}


@pytest.fixture
def index(tmp_path):
    """``index(content)`` writes an index beside two frames each of a real and a fake video."""
    for folder in ("real/1", "fake/2"):
        (tmp_path / "set" / folder).mkdir(parents=True)
        for name in ("0.png", "1.png"):
            (tmp_path / "set" / folder / name).touch()

    def write(content):
        file = tmp_path / "index.json"
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return file

    return write


def both(**changes):
    real = video("real", "set/real/1/0.png", "set/real/1/1.png")
    fake = video("fake", "set/fake/2/0.png", "set/fake/2/1.png")
    return {"set": {"real": {"test": {"1": real}}, "fake": {"test": {"2": fake}}} | changes}


def refused(file, **selection):
    with pytest.raises(UserError) as caught:
        read_source(file, Selection(**selection))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_unknown_data_set_with_known_words(index):
    samples = read_source(index(both()))
    assert [(s.dataset, s.label, s.video, s.manipulation) for s in samples] == [
        *[("set", 1, "fake/2", "")] * 2, *[("set", 0, "real/1", "")] * 2,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("\x00", "is not JSON"),
        ("[]", "is no DeepfakeBench index"),
        ("{}", "is empty"),
        ('{"a": 1}', "is no DeepfakeBench index; it must be as in"),
        ('{"a": {"real": []}}', "is no DeepfakeBench index"),
        ('{"a": {"real": {"test": []}}}', "is no DeepfakeBench index"),
        ({"a": {"real": {"test": {"1": video("real", 7)}}}}, "7 is no path of a frame"),
        (both(odd={"test": {"3": video("odd", "set/real/1/0.png")}}), "the label odd is not known"),
        (
            both(fake={"test": {"2": video("real", "set/fake/2/0.png")}}),
            "the video 2 is listed under fake and labelled real; fix the index",
        ),
        (both(real={}, fake={}), "holds no images of split test"),
    ],
)
def test_bad_content(index, content, message):
    assert message in refused(index(content))


def test_bytes_that_are_no_text(index):
    file = index("{}")
    file.write_bytes(b"\xff\xfe\xff")
    assert "is not JSON" in refused(file)


def test_wrong_names(index):
    file = index(both())
    assert "has no data set other; it has set" in refused(file, datasets=("other",))
    assert "holds no images of split val" in refused(file, split="val")
    levels = {"set": {"FF-real": {"test": {"c23": {}, "c40": {}}}}}
    assert "has no raw; it has c23, c40, which compression= chooses" in refused(
        index(levels), compression="raw"
    )


def test_label_of_the_group_where_the_video_names_none(index):
    content = both()
    for group in content["set"].values():
        for entry in group["test"].values():
            del entry["label"]
    assert [sample.label for sample in read_source(index(content))] == [1, 1, 0, 0]


def test_missing_frames_are_counted_named_and_left_out(index, caplog):
    many = [f"set/real/1/{number}.png" for number in range(2, 16)]
    content = both(real={"test": {"1": video("real", "set/real/1/0.png", "set/real/1/1.png", *many)}})
    file = index(content)
    message = refused(file, missing=0.5)
    assert "14 of 18 frames are missing, 78 % where 50 % are allowed: set/real/1/2.png, " in message
    assert message.count(".png") == 10 and "set/real/1/11.png; " in message
    with caplog.at_level(logging.WARNING):
        assert len(read_source(file, Selection(missing=0.8))) == 4
    assert "14 of 18 frames are missing and left out: set/real/1/2.png" in caplog.text


def test_a_tenth_may_be_missing_by_default(index, tmp_path):
    for number in range(2, 18):
        (tmp_path / f"set/real/1/{number}.png").touch()
    frames = [f"set/real/1/{number}.png" for number in range(18)]
    fakes = video("fake", "set/fake/2/0.png", *[f"set/fake/2/{number}.png" for number in range(8, 8 + 1)])
    file = index(both(real={"test": {"1": video("real", *frames)}}, fake={"test": {"2": fakes}}))
    assert len(read_source(file)) == 19, "1 of 20 is missing"
    for number in range(2):
        (tmp_path / f"set/real/1/{number}.png").unlink()
    assert "3 of 20 frames are missing" in refused(file)


def test_wrong_root(index, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    content = json.dumps(both()).replace("set/", "/of/the/authors/set/")
    file = index(content)
    assert len(read_source(file)) == 4, "beside the index"
    message = refused(file, root=tmp_path / "elsewhere")
    assert "none of the 4 frames is there (/of/the/authors/set/fake/2/0.png, " in message
    assert message.endswith("give root=FOLDER, the folder that holds the data sets")
    assert "is no folder" in str(pytest.raises(UserError, Selection, root=tmp_path / "nowhere").value)


def test_the_root_wins_over_where_one_stands(index, tmp_path, monkeypatch):
    """A user who names a root wants its files, though others of the same path lie here."""
    monkeypatch.chdir(tmp_path)
    for folder in ("real/1", "fake/2"):
        (tmp_path / "other/set" / folder).mkdir(parents=True)
        for name in ("0.png", "1.png"):
            (tmp_path / "other/set" / folder / name).touch()
    file = index(both())
    assert read_source(file)[0].path == tmp_path.relative_to(tmp_path) / "set/fake/2/0.png"
    rooted = read_source(file, Selection(root=tmp_path / "other"))
    assert rooted[0].path == tmp_path / "other/set/fake/2/0.png"


def test_absolute_paths_are_taken_as_given_first(index, tmp_path):
    """Before a folder of the same name beside the index; after `root`, which is asked for."""
    shutil.copytree(tmp_path / "set", tmp_path / "far/set")
    file = index(json.dumps(both()).replace("set/", f"{(tmp_path / 'far/set').as_posix()}/"))
    assert read_source(file)[0].path == tmp_path / "far/set/fake/2/0.png"
    assert read_source(file, Selection(root=tmp_path))[0].path == tmp_path / "set/fake/2/0.png"
    (tmp_path / "elsewhere").mkdir()
    elsewhere = Selection(root=tmp_path / "elsewhere")
    assert read_source(file, elsewhere)[0].path == tmp_path / "far/set/fake/2/0.png"


def test_frames_without_a_folder_lie_in_the_root(index, tmp_path):
    content = json.dumps(both()).replace("set/real/1/", "").replace("set/fake/2/", "")
    samples = read_source(index(content), Selection(root=tmp_path / "set/real/1"))
    assert [sample.path for sample in samples[:2]] == [tmp_path / f"set/real/1/{n}.png" for n in (0, 1)]


def test_two_data_sets_in_one_file(index):
    content = both() | {"more": both()["set"]}
    assert len(read_source(index(content))) == 8
    assert {s.dataset for s in read_source(index(content), Selection(datasets=("more",)))} == {"more"}
