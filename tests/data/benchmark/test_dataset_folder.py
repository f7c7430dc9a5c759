"""Data sets' folders: recognised, or refused with what is wrong with their lists."""

import json
import logging
import shutil

import pytest

from brevitas_defakeq.data.layout import LayoutKind, recognise
from brevitas_defakeq.data.selection import Selection
from brevitas_defakeq.data.sources import list_videos, read_source
from brevitas_defakeq.utils.errors import UserError

RGB = "datasets/rgb"
ALL = [
    "Celeb-DF-v1", "Celeb-DF-v2", "DFDC", "DFDCP", "FaceForensics++", "FaceShifter", "DeepFakeDetection",
    "UADFV",
]  # fmt: skip


def refused(read, path, **selection):
    with pytest.raises(UserError) as caught:
        read(path, Selection(**selection))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("folder", "names"),
    [
        ("FaceForensics++", ["FaceForensics++"]),
        ("Celeb-DF-v1", ["Celeb-DF-v1"]),
        ("Celeb-DF-v2", ["Celeb-DF-v2"]),
        ("DFDC", ["DFDC"]),
        ("DFDC/test", ["DFDC"]),
        ("DFDC/train/dfdc_train_part_0", ["DFDC"]),
        ("DFDCP", ["DFDCP"]),
        ("UADFV", ["UADFV"]),
        ("", ALL),
    ],
)
def test_recognised_by_its_folder(dfb_tree, folder, names):
    found = recognise(dfb_tree / RGB / folder)
    assert found.kind == LayoutKind.FRAMES
    assert [folder.dataset.name for folder in found.folders] == names


def test_the_whole_tree_from_above(dfb_tree):
    found = [
        {folder.dataset.name for folder in recognise(dfb_tree / at).folders} for at in ("", "datasets", RGB)
    ]
    assert found[0] == found[1] == found[2] != set()


def test_class_folders_come_before_data_sets_below(dfb_tree, tmp_path):
    for name in ("real", "fake"):
        (tmp_path / name).mkdir()
    (tmp_path / "UADFV").symlink_to(dfb_tree / RGB / "UADFV")
    assert recognise(tmp_path).kind == LayoutKind.CLASSES
    assert recognise(tmp_path, ("UADFV",)).kind == LayoutKind.FRAMES, "unless it is asked for"


def test_parts_of_faceforensics_by_name(dfb_tree):
    root = dfb_tree / RGB / "FaceForensics++"
    samples = read_source(root, Selection(datasets=("FF-NT", "DeepFakeDetection")))
    assert {(sample.dataset, sample.video.split("/")[0]) for sample in samples} == {
        ("FF-NT", "FF-NT"), ("FF-NT", "FF-real"),
        ("DeepFakeDetection", "DFD_real"), ("DeepFakeDetection", "DFD_fake"),
    }  # fmt: skip
    message = refused(read_source, root, datasets=("DFDC",))
    assert message.endswith(
        "holds no DFDC; it holds FaceForensics++, FaceShifter, DeepFakeDetection, FF-DF, FF-F2F, FF-FS, FF-NT"
    )


def test_celeb_trains_on_what_its_list_leaves(dfb_tree):
    """Both real folders count, and no test video: the benchmark's index has neither."""
    samples = read_source(dfb_tree / RGB / "Celeb-DF-v2", Selection("train"))
    assert {sample.video for sample in samples} == {
        "CelebDFv2_fake/id1_id0_0001", "CelebDFv2_real/00001", "CelebDFv2_real/id1_0001"
    }  # fmt: skip


def test_videos_that_a_list_names_and_nobody_has(dfb_tree, caplog):
    message = refused(read_source, dfb_tree / RGB / "DFDC")
    assert "1 of 4 videos are missing, 25 % where 10 % are allowed: test/missing; add their frames" in message
    with caplog.at_level(logging.WARNING):
        assert len(read_source(dfb_tree / RGB / "DFDC", Selection(missing=0.3))) == 6
    assert "1 of 4 videos are missing and left out: test/missing" in caplog.text


def test_other_compressions(dfb_tree):
    root = dfb_tree / RGB / "FaceForensics++"
    samples = read_source(root, Selection(compression="c40", missing=0.5))
    assert {sample.video for sample in samples} == {"FF-real/c40/953", "FF-DF/c40/953_974"}
    assert "has no raw of FaceForensics++; it has c23, c40" in refused(read_source, root, compression="raw")


def test_videos_without_frames_are_told(changed_tree, caplog):
    shutil.rmtree(changed_tree / RGB / "UADFV/real/frames/0000")
    (changed_tree / RGB / "UADFV/real/frames/0000").mkdir()
    (changed_tree / RGB / "UADFV/real/frames/0000/000.npy").touch()
    with caplog.at_level(logging.WARNING):
        assert len(read_source(changed_tree / RGB / "UADFV")) == 6
    assert "1 videos without frames are left out: real/0000" in caplog.text


@pytest.mark.parametrize(
    ("folder", "file", "content", "message"),
    [
        ("FaceForensics++", "val.json", None, "has no val.json; put train.json, val.json and test.json"),
        ("FaceForensics++", "test.json", "[[1]]", "is no list of pairs"),
        ("FaceForensics++", "test.json", "[", "is not JSON"),
        ("Celeb-DF-v2", "List_of_testing_videos.txt", None, "has no List_of_testing_videos.txt"),
        ("Celeb-DF-v2", "List_of_testing_videos.txt", "1 00170.mp4\n", "line 1: '1 00170.mp4' is not as in"),
        ("DFDCP", "dataset.json", None, "has no dataset.json"),
        ("DFDCP", "dataset.json", "[]", "holds no JSON object"),
        ("DFDCP", "dataset.json", '{"method_A/a.mp4": {"set": "test"}}', "has no set (train, test) or label"),
        (
            "DFDCP", "dataset.json", '{"method_A/a.mp4": {"set": "test", "label": "real"}}',
            "method_A/a.mp4 is labelled real, which its folder contradicts",
        ),
        ("DFDC", "test/labels.csv", "filename,label\na.mp4,FAKE\n", "1 labels are not 0 or 1 (fake)"),
        ("DFDC", "test/labels.csv", "name,label\na.mp4,1\n", "does not name the columns filename,label"),
        ("DFDC", "train/dfdc_train_part_0/metadata.json", '{"a.mp4": 1}', "a.mp4 has no label REAL or FAKE"),
        ("DFDC", "train/dfdc_train_part_0/metadata.json", b"\xff", "cannot be read"),
    ],
)  # fmt: skip
def test_broken_lists(changed_tree, folder, file, content, message):
    listed = changed_tree / RGB / folder / file
    if content is None:
        listed.unlink()
    elif isinstance(content, bytes):
        listed.write_bytes(content)
    else:
        listed.write_text(content)
    assert message in refused(read_source, changed_tree / RGB / folder)


def test_lost_lists_matter_only_for_their_splits(changed_tree):
    for file in ("FaceForensics++/test.json", "Celeb-DF-v2/List_of_testing_videos.txt"):
        (changed_tree / RGB / file).unlink()
    for folder, count in (("FaceForensics++", 33), ("Celeb-DF-v2", 12)):
        assert len(read_source(changed_tree / RGB / folder, Selection("all"))) == count


def test_dfdc_without_any_labels(changed_tree):
    root = changed_tree / RGB / "DFDC"
    for file in ("test/labels.csv", "train/dfdc_train_part_0/metadata.json"):
        (root / file).unlink()
    assert "has neither test/labels.csv nor train/dfdc_train_part_*/metadata.json" in refused(
        read_source, root
    )


def test_a_part_of_dfdc_without_labels_is_left_out_and_told(changed_tree, caplog):
    (changed_tree / RGB / "DFDC/test/labels.csv").unlink()
    with caplog.at_level(logging.WARNING):
        samples = read_source(changed_tree / RGB / "DFDC", Selection("all"))
    assert {sample.video for sample in samples} == {"DFDC_Fake/owxbbpjpch", "DFDC_Real/vpmyeepbep"}
    assert "3 videos are in no official list and are left out" in caplog.text


def test_a_folder_with_neither_frames_nor_videos(tmp_path):
    for folder in ("Celeb-real", "Celeb-synthesis"):
        (tmp_path / "Celeb-DF-v2" / folder).mkdir(parents=True)
    message = refused(read_source, tmp_path / "Celeb-DF-v2")
    assert "looks like Celeb-DF-v2 and holds neither frames (in frames/VIDEO/) nor videos" in message


def test_raw_videos_are_no_images_and_frames_no_videos(dfb_tree, tmp_path):
    for folder in ("Celeb-real", "Celeb-synthesis"):
        (tmp_path / "Celeb-DF-v1" / folder).mkdir(parents=True)
        (tmp_path / "Celeb-DF-v1" / folder / "id0_0000.mp4").touch()
    assert recognise(tmp_path / "Celeb-DF-v1").kind == LayoutKind.VIDEOS
    message = refused(read_source, tmp_path / "Celeb-DF-v1")
    assert "holds the videos of Celeb-DF-v1 and no frames" in message
    assert "holds no videos of split test" in refused(list_videos, dfb_tree / RGB / "UADFV")


def test_masks_of_the_download_are_no_videos(tmp_path):
    root = tmp_path / "ff"
    for folder, name in (("c23", "000_003"), ("masks", "000_003")):
        (root / "manipulated_sequences/Deepfakes" / folder / "videos").mkdir(parents=True)
        (root / "manipulated_sequences/Deepfakes" / folder / f"videos/{name}.mp4").touch()
    videos = list_videos(root, Selection("all"))
    assert [(video.path.parts[-3], video.name, video.label) for video in videos] == [
        ("c23", "FF-DF/c23/000_003", 1)
    ]


def test_splits_from_the_repositorys_folder(changed_tree):
    root = changed_tree / RGB / "FaceForensics++"
    (root / "splits").mkdir()
    for split in ("train", "val", "test"):
        (root / f"{split}.json").rename(root / "splits" / f"{split}.json")
    assert len(read_source(root)) == 21


def test_dfdc_as_others_lay_it_out(tmp_path):
    """Videos in `videos` beside the list."""
    root = tmp_path / "DFDC"
    (root / "videos").mkdir(parents=True)
    (root / "labels.csv").write_text("filename,label\na.mp4,0\nb.mp4,1\n")
    for name in "ab":
        (root / "videos" / f"{name}.mp4").touch()
    assert [(video.name, video.label) for video in list_videos(root)] == [
        ("DFDC_Fake/b", 1),
        ("DFDC_Real/a", 0),
    ]


def test_one_of_several_without_frames_is_told(changed_tree, caplog):
    shutil.rmtree(changed_tree / RGB / "DFDCP/original_videos/frames")
    for method in "AB":
        shutil.rmtree(changed_tree / RGB / f"DFDCP/method_{method}/frames")
    with caplog.at_level(logging.WARNING):
        samples = read_source(changed_tree / RGB, Selection(missing=0.3))
    assert "DFDCP" not in {sample.dataset for sample in samples}
    assert "has no frames" in caplog.text


def test_digits_of_the_test_list_do_not_count(changed_tree):
    """Some have turned them round; the folder tells."""
    file = changed_tree / RGB / "Celeb-DF-v2/List_of_testing_videos.txt"
    before = read_source(changed_tree / RGB / "Celeb-DF-v2")
    file.write_text(
        "0 YouTube-real/00170.mp4\r\n0 Celeb-real/id0_0000.mp4\r\n1 Celeb-synthesis/id0_id1_0000.mp4\r\n\r\n"
    )
    assert read_source(changed_tree / RGB / "Celeb-DF-v2") == before


def test_json_lists_may_start_with_a_mark(changed_tree):
    file = changed_tree / RGB / "FaceForensics++/test.json"
    file.write_text(json.dumps([["953", "974"]]), encoding="utf-8-sig")
    assert len(read_source(changed_tree / RGB / "FaceForensics++")) == 21
