"""The whole check: on the example tree, on folders of one's own, on what is spoilt."""

import json
import shutil

import pytest
from PIL import Image

from brevitas_defakeq.data.check import check_source
from brevitas_defakeq.data.selection import Selection
from brevitas_defakeq.utils.errors import UserError

RGB = "datasets/rgb"


def checked(path, *arguments, **options):
    found = check_source(path, *arguments, **options)
    assert json.loads(json.dumps(found)) == found, "ready for JSON"
    return found


def counts(dataset):
    """Split -> (real videos, real images, fake videos, fake images)."""
    columns = [(label, what) for label in ("real", "fake") for what in ("videos", "images")]
    return {
        split: tuple(labels.get(label, {}).get(what, 0) for label, what in columns)
        for split, labels in dataset["splits"].items()
    }


@pytest.mark.parametrize(
    ("below", "layout"),
    [
        ("preprocessing/dataset_json/FaceForensics++.json", "DeepfakeBench index"),
        (f"{RGB}/FaceForensics++", "frames folders"),
    ],
)
def test_counts_per_split_and_label(dfb_tree, below, layout):
    found = checked(dfb_tree / below)
    assert found["layout"] == layout
    (dataset,) = found["datasets"]
    assert counts(dataset) == {"train": (2, 2, 4, 4), "val": (2, 2, 4, 4), "test": (2, 5, 8, 16)}
    assert list(counts(dataset)) == ["train", "val", "test"]
    assert dataset["manipulations"]["FF-NT"] == {"videos": 4, "images": 6}
    assert dataset["frames_per_video"] == {"least": 1, "median": 1, "most": 3}
    assert found["shared"] == [], "the official splits share nobody"


def test_videos_that_are_in_train_and_test(dfb_tree):
    """The benchmark's Celeb-DF index trains on test videos; its folders do not, but people are the same."""
    index = checked(dfb_tree / "preprocessing/dataset_json/Celeb-DF-v2.json")
    (shared,) = index["shared"]
    assert (shared["between"], shared["videos"], shared["people"]) == (["train", "test"], 2, 2)
    assert (shared["images"], shared["compared"]) == (4, 7)
    assert shared["first_videos"] == [
        "Celeb-DF-v2/CelebDFv2_fake/id0_id1_0000", "Celeb-DF-v2/CelebDFv2_real/00170"
    ]  # fmt: skip
    assert "do not calibrate on the one and test on the other" in index["problems"][0]
    folders = checked(dfb_tree / RGB / "Celeb-DF-v2")
    (shared,) = folders["shared"]
    assert (shared["videos"], shared["images"], shared["people"]) == (0, 0, 2)
    assert folders["problems"] == [
        "Celeb-DF-v2: train and test share 2 people, 0 videos, 0 of 5 images"
    ]  # fmt: skip


def test_frames_of_other_videos_that_are_the_same(changed_tree):
    root = changed_tree / RGB / "Celeb-DF-v2"
    shutil.copy(root / "YouTube-real/frames/00170/000.png", root / "YouTube-real/frames/00001/000.png")
    (shared,) = checked(root)["shared"]
    assert (shared["videos"], shared["images"]) == (0, 1)
    assert shared["first_images"] == [str(root / "YouTube-real/frames/00001/000.png")]


def test_what_is_missing(dfb_tree):
    (lack,) = checked(dfb_tree / RGB / "DFDC")["lacks"]
    assert (lack["what"], lack["total"], lack["missing"]) == ("videos", 6, 1)
    assert lack["first_missing"] == ["test/missing"]
    found = checked(dfb_tree / RGB / "DFDCP")
    assert found["problems"] == ["all samples are real in DFDCP train"]


def test_the_whole_tree(dfb_tree):
    found = checked(dfb_tree)
    assert [dataset["name"] for dataset in found["datasets"]] == [
        "Celeb-DF-v1", "Celeb-DF-v2", "DFDC", "DFDCP", "DeepFakeDetection", "FaceForensics++", "FaceShifter",
        "UADFV",
    ]  # fmt: skip
    assert {entry["dataset"] for entry in found["shared"] if entry["videos"]} == {
        "DeepFakeDetection",
        "UADFV",
    }
    assert found["refused"] == []


def test_a_broken_data_set_among_others_is_one_problem(changed_tree):
    (changed_tree / RGB / "DFDCP/dataset.json").write_text("[")
    (changed_tree / RGB / "Celeb-DF-v2/List_of_testing_videos.txt").unlink()
    found = checked(changed_tree)
    assert "DFDCP" not in [dataset["name"] for dataset in found["datasets"]]
    assert len(found["refused"]) == 1 and "dataset.json is not JSON" in found["refused"][0]
    assert any("has no List_of_testing_videos.txt" in line for line in found["problems"])
    with pytest.raises(UserError, match="dataset.json is not JSON"):
        check_source(changed_tree / RGB / "DFDCP")


def test_frames_that_an_index_names_and_nobody_has(changed_tree):
    shutil.rmtree(changed_tree / RGB / "UADFV/real/frames/0000")
    found = checked(changed_tree / "preprocessing/dataset_json/UADFV.json")
    assert found["problems"][0].startswith(
        "UADFV: 2 of 8 frames are missing: ./datasets/rgb/UADFV/real/frames/"
    )


def test_an_index_far_from_its_frames(dfb_tree, tmp_path):
    shutil.copy(dfb_tree / "preprocessing/dataset_json/UADFV.json", tmp_path / "UADFV.json")
    with pytest.raises(
        UserError, match="none of the 8 frames is there .*; give root=FOLDER, the folder that holds"
    ):
        check_source(tmp_path / "UADFV.json")
    found = checked(tmp_path / "UADFV.json", Selection(root=dfb_tree))
    assert counts(found["datasets"][0])["test"] == (2, 4, 2, 4)


def test_videos_without_frames_and_unlisted_ones(changed_tree):
    root = changed_tree / RGB / "FaceForensics++"
    (root / "original_sequences/youtube/c23/frames/500").mkdir()
    shutil.copytree(
        root / "original_sequences/youtube/c23/frames/953", root / "original_sequences/youtube/c23/frames/501"
    )
    found = checked(root)
    assert counts(found["datasets"][0])["unlisted"] == (1, 3, 0, 0)
    (lack,) = found["lacks"]
    assert (lack["empty"], lack["first_empty"]) == (1, ["original_sequences/youtube/c23/500"])
    assert "FaceForensics++: 2 videos are in no official list and are left out" in found["problems"]


def test_raw_videos_are_counted(tmp_path):
    for folder, name in (
        ("Celeb-real", "id0_0000"),
        ("Celeb-synthesis", "id0_id1_0000"),
        ("Celeb-real", "id2_0001"),
    ):
        (tmp_path / "celeb" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "celeb" / folder / f"{name}.mp4").touch()
    lines = "1 Celeb-real/id0_0000.mp4\n0 Celeb-synthesis/id9_id1_0000.mp4\n"
    (tmp_path / "celeb/List_of_testing_videos.txt").write_text(lines)
    found = checked(tmp_path / "celeb")
    assert found["layout"] == "raw videos" and found["headers_read"] == 0
    assert counts(found["datasets"][0]) == {"train": (1, 0, 1, 0), "val": (1, 0, 0, 0), "test": (1, 0, 0, 0)}
    assert found["lacks"][0]["first_missing"] == ["Celeb-synthesis/id9_id1_0000"]
    assert found["shared"][0]["first_people"] == ["Celeb-DF id0"]


def own(folder, count=24):
    for label, suffix in (("real", "jpg"), ("fake", "png")):
        for number in range(count):
            file = folder / label / f"{number}.{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), 100 * (suffix == "png") + number).save(file)


def test_a_folder_of_ones_own(tmp_path):
    own(tmp_path / "faces")
    found = checked(tmp_path / "faces")
    assert found["layout"] == "class folders"
    assert counts(found["datasets"][0]) == {"all": (24, 24, 24, 24)}
    assert found["problems"] == [
        "the label goes with the file format (100 % right): JPEG are 100 % of the real and 0 % of the fake "
        "images"
    ]
    assert found["calibration"] is None


def test_videos_of_ones_own(tmp_path):
    for name in ("real/a.mp4", "fake/b.mp4", "fake/c.MOV"):
        (tmp_path / "clips" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "clips" / name).touch()
    assert counts(checked(tmp_path / "clips")["datasets"][0]) == {"all": (1, 0, 2, 0)}
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty holds no images and no videos"):
        check_source(tmp_path / "empty")


def test_a_csv_whose_reals_come_from_elsewhere(tmp_path):
    own(tmp_path / "studio")
    shutil.move(tmp_path / "studio/real", tmp_path / "street")
    lines = [
        f"{path.relative_to(tmp_path)},{int(path.parent.name == 'fake')}" for path in tmp_path.rglob("*.*g")
    ]
    (tmp_path / "list.csv").write_text("path,label\n" + "\n".join(lines))
    attributes = {entry["attribute"]: entry for entry in checked(tmp_path / "list.csv")["label_goes_with"]}
    assert attributes["source folder"]["notable"] and attributes["source folder"]["accuracy"] == 1
    assert attributes["source folder"]["value"] in ("studio", "street")


def test_one_class_and_no_labels(tmp_path):
    own(tmp_path / "faces")
    assert "all samples are fake in fake.csv" not in checked(tmp_path / "faces")["problems"]
    shutil.rmtree(tmp_path / "faces/real")
    assert checked(tmp_path / "faces")["problems"] == ["all samples are fake in faces"]
    assert checked(tmp_path / "faces/fake")["problems"] == ["all samples are unlabelled in fake"]


def test_against_the_calibration_images(dfb_tree, tmp_path):
    """Celeb-DF's index as calibration shares videos with the test split of its folders; others nothing."""
    test = dfb_tree / RGB / "Celeb-DF-v2"
    index = dfb_tree / "preprocessing/dataset_json/Celeb-DF-v2.json"
    found = checked(test, calibration=index)["calibration"]
    assert (found["images"], found["compared"], found["videos"], found["people"]) == (4, 7, 2, 2)
    clean = checked(test, calibration=dfb_tree / "preprocessing/dataset_json/FaceForensics++.json")
    assert not any(clean["calibration"][what] for what in ("images", "videos", "people"))
    shutil.copytree(test / "Celeb-real/frames/id0_0000", tmp_path / "mine/real/elsewhere")
    copied = checked(test, calibration=tmp_path / "mine")
    assert (copied["calibration"]["images"], copied["calibration"]["videos"]) == (3, 0)
    assert any(
        line.startswith(f"calibration {tmp_path / 'mine'} and the test split share")
        for line in copied["problems"]
    )
    own(tmp_path / "faces")
    assert checked(tmp_path / "faces", calibration=tmp_path / "faces/real")["calibration"]["images"] == 24


def test_selected_parts(dfb_tree):
    root = dfb_tree / RGB / "FaceForensics++"
    found = checked(root, Selection(datasets=("FF-DF",), compression="c40"))
    assert [dataset["name"] for dataset in found["datasets"]] == ["FF-DF"]
    assert counts(found["datasets"][0]) == {"test": (1, 2, 1, 2)}
