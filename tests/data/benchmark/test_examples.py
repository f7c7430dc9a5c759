"""The example trees give exactly the lists, labels and videos that DeepfakeBench's own reader gives."""

import json
from collections import defaultdict
from pathlib import Path

import pytest

from brevitas_defakeq.data.selection import Selection
from brevitas_defakeq.data.sources import read_source
from brevitas_defakeq.utils.errors import UserError

EXAMPLE = Path(__file__).parents[2] / "data_files" / "dfb_tree"
SHARED = Path(__file__).parents[4] / "shared" / "reference" / "dfb_tree"
EXPECTED = {
    name: found
    for name, found in json.loads((EXAMPLE / "expected.json").read_text()).items()
    if not name.startswith("_")
}
SUMMARY = json.loads((EXAMPLE / "summary.json").read_text())
STYLES = ("dataset_json", "dataset_json_windows")


def by_video(samples, root):
    """(unique name, folder, label) -> frames, as the benchmark's class names them."""
    found = defaultdict(list)
    for sample in samples:
        kind, *_, name = sample.video.split("/")
        key = f"{kind}_{name}", sample.path.parent.name, sample.label
        found[key].append(f"./{sample.path.resolve().relative_to(root.resolve()).as_posix()}")
    return dict(found)


def expected(name):
    return {
        (video["unique_name"], video["folder_name"], video["label"]): video["frames"]
        for video in EXPECTED[name]["videos"]
    }


@pytest.mark.parametrize("base", [None, ".", "datasets/rgb"])
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", EXPECTED)
def test_index_gives_the_benchmarks_lists(dfb_tree, name, style, base):
    index = dfb_tree / "preprocessing" / style / f"{name}.json"
    root = base and dfb_tree / base
    samples = read_source(index, Selection(frames=32, first=True, root=root))
    assert by_video(samples, dfb_tree) == expected(name)
    assert {sample.dataset for sample in samples} == {name}


def test_index_where_one_stands(dfb_tree, monkeypatch):
    """Paths as given, relative to the working folder, as the benchmark runs."""
    monkeypatch.chdir(dfb_tree)
    samples = read_source("preprocessing/dataset_json/UADFV.json")
    assert samples[0].path == Path("datasets/rgb/UADFV/fake/frames/0000_fake/000.png")


@pytest.mark.parametrize("name", EXPECTED)
def test_few_frames_are_the_first_or_spread(dfb_tree, name):
    index = dfb_tree / "preprocessing/dataset_json" / f"{name}.json"

    def frames(selection):
        found = by_video(read_source(index, selection), dfb_tree)
        return {key[0]: [Path(frame).name for frame in frames] for key, frames in found.items()}

    assert frames(Selection(frames=2, first=True)) == EXPECTED[name]["frame_num_2"]
    three = {key: frames for (key, _, _), frames in expected(name).items() if len(frames) == 3}
    spread = frames(Selection(frames=2))
    assert all(spread[key] == [Path(three[key][0]).name, Path(three[key][2]).name] for key in three)


@pytest.mark.parametrize("name", EXPECTED)
def test_folder_names_are_the_benchmarks_videos(dfb_tree, name):
    samples = read_source(dfb_tree / "preprocessing/dataset_json" / f"{name}.json")
    groups = defaultdict(list)
    for sample in samples:
        groups[sample.path.parent.name].append(sample.label)
    found = {
        folder: {"frames": len(labels), "label": min(labels)} for folder, labels in groups.items()
    }  # fmt: skip
    assert found == EXPECTED[name]["video_auc_groups"]


@pytest.mark.parametrize("compression", ["c23", "c40"])
@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("name", EXPECTED)
def test_splits(dfb_tree, name, split, compression):
    """Which videos stand in which split; DFDC's `val` also holds a label and frames instead of videos."""
    wanted = set()
    for kind, splits in SUMMARY[f"{name}.json"].items():
        names = splits.get(split, [])
        names = names.get(compression, []) if isinstance(names, dict) else names
        wanted |= {(kind, video) for video in names} - {(kind, "label"), (kind, "frames")}
    index = dfb_tree / "preprocessing/dataset_json" / f"{name}.json"
    try:
        samples = read_source(index, Selection(split, compression))
    except UserError as error:
        assert not wanted, error
        return
    parts = [sample.video.split("/") for sample in samples]
    assert {(kind, video) for kind, *_, video in parts} == wanted


@pytest.mark.parametrize("name", EXPECTED)
def test_frames_folders_give_what_the_index_gives(dfb_tree, name):
    """Of DFDC's four test videos one was never there; the benchmark passes over it."""
    index = read_source(dfb_tree / "preprocessing/dataset_json" / f"{name}.json")
    tree = read_source(dfb_tree / "datasets/rgb", Selection(datasets=(name,), missing=0.25))
    assert tree == index


@pytest.mark.parametrize("file", ["FF-DF_c40.json", "FaceForensics++_c40.json"])
def test_pseudo_names_force_the_compression(dfb_tree, file):
    samples = read_source(dfb_tree / "preprocessing/dataset_json" / file, Selection(compression="raw"))
    assert {sample.video for sample in samples} == {"FF-real/c40/953", "FF-DF/c40/953_974"}
    assert {sample.dataset for sample in samples} == {file.removesuffix("_c40.json")}


def test_manipulations(dfb_tree):
    named = {
        name: {
            sample.manipulation
            for sample in read_source(dfb_tree / f"preprocessing/dataset_json/{name}.json")
        }
        for name in ("FaceForensics++", "DFDCP", "DFDC", "Celeb-DF-v2")
    }
    assert named == {
        "FaceForensics++": {"", "FF-DF", "FF-F2F", "FF-FS", "FF-NT"},
        "DFDCP": {"", "DFDCP_FakeA", "DFDCP_FakeB"}, "DFDC": {""}, "Celeb-DF-v2": {""},
    }  # fmt: skip


@pytest.mark.skipif(not SHARED.is_dir(), reason="the reference tree is not at hand")
def test_the_copied_example_is_the_reference():
    for style in STYLES:
        for file in (SHARED / "preprocessing" / style).iterdir():
            assert (EXAMPLE / "preprocessing" / style / file.name).read_bytes() == file.read_bytes()
    frames = json.loads((EXAMPLE / "frames.json").read_text())
    stored = {f"{folder}/{name}" for folder, names in frames.items() for name in names}
    assert stored == {file.relative_to(SHARED).as_posix() for file in SHARED.rglob("*.png")}
