"""Random trees in every layout are read back: what was written is listed, nothing else."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import COMPRESSED, SHAPES, SPLITS, videos, write_frames, write_lists, write_videos

from brevitas_defakeq.data.selection import Selection
from brevitas_defakeq.data.sources import list_videos, read_source
from brevitas_defakeq.utils.errors import UserError

FEW = settings(max_examples=5, deadline=None)
PREFIXES = ("", "./datasets/rgb/", "/data/of/the/authors/", "C:/data/", "../")


def listed(samples):
    """As one row a sample, in order."""
    return [
        (sample.dataset, sample.label, sample.video, sample.manipulation, sample.path.resolve())
        for sample in samples
    ]


def wanted(truths, split, folders_of):
    """The rows that reading must give: by label's name and video, frames in the order of their numbers."""
    chosen = [truth for truth in truths if split == "all" or split in truth.splits]
    return [
        (truth.dataset, truth.label, truth.key, truth.manipulation, folder.resolve())
        for truth in sorted(chosen, key=lambda truth: (truth.kind, truth.name))
        for folder in folders_of(truth)
    ]


def check_splits(read, truths, folders_of):
    for split in (*SPLITS, "all"):
        rows = wanted(truths, split, folders_of)
        if rows:
            assert listed(read(split)) == rows, split
        else:
            with pytest.raises(UserError, match=f"holds no (images|videos) of split {split}"):
                read(split)


@pytest.mark.parametrize("dataset", SHAPES)
@FEW
@given(random=st.randoms(use_true_random=True))
def test_frames_folders(tmp_path_factory, dataset, random):
    compression = random.choice(("raw", "c23", "c40"))
    truths = videos(random, dataset, compression)
    temporary = tmp_path_factory.mktemp("tree")  # removed later: that takes longer than the test
    root = temporary / SHAPES[dataset][0]
    write_lists(root, truths)
    write_frames(root, truths)
    where = random.choice((root, root.parent))

    def read(split):
        return read_source(where, Selection(split, compression, (dataset,)))

    check_splits(read, truths, lambda t: [root / t.folder / "frames" / t.name / name for name in t.frames])


@pytest.mark.parametrize("dataset", SHAPES)
@FEW
@given(random=st.randoms(use_true_random=True))
def test_raw_downloads(tmp_path_factory, dataset, random):
    compression = random.choice(("raw", "c23", "c40"))
    truths = videos(random, dataset, compression)
    temporary = tmp_path_factory.mktemp("tree")  # removed later: that takes longer than the test
    root = temporary / SHAPES[dataset][0]
    write_lists(root, truths)
    files = write_videos(root, truths, random.random() < 0.5)

    def read(split):
        found = list_videos(root, Selection(split, compression, (dataset,)))
        own = {truth.key: "" if truth.splits == SPLITS else truth.splits[-1] for truth in truths}
        assert all(video.split == (own[video.name] if split == "all" else split) for video in found)
        return [_Row(video) for video in found]

    check_splits(read, truths, lambda truth: [files[truth]])


class _Row:
    """A video under a sample's names."""

    def __init__(self, video):
        self.dataset, self.label, self.video = video.dataset, video.label, video.name
        self.manipulation, self.path = video.manipulation, video.path


@pytest.mark.parametrize("dataset", SHAPES)
@FEW
@given(random=st.randoms(use_true_random=True))
def test_indexes(tmp_path_factory, dataset, random):
    """Both nestings, both separators, any prefix; what is no video is ignored."""
    compression = random.choice(("raw", "c23", "c40"))
    truths = videos(random, dataset, compression)
    folder = SHAPES[dataset][0] if dataset != "Celeb-DF-v2" else "Celeb-DF-v2"
    prefix, back = random.choice(PREFIXES), random.random() < 0.5
    groups = {}
    for truth in random.sample(truths, len(truths)):
        start = f"{prefix}{folder}/{truth.folder}/frames/{truth.name}/"
        names = random.sample(truth.frames, len(truth.frames))
        paths = [(start + name).replace("/", "\\" if back else "/") for name in names]
        for split in truth.splits:
            level = groups.setdefault(truth.kind, {}).setdefault(split, {})
            level = level.setdefault(compression, {}) if dataset in COMPRESSED else level
            level[truth.name] = {"label": truth.kind, "frames": paths, "masks": []}
            level["empty"] = {"label": truth.kind, "frames": []}
    if dataset == "DFDC":
        groups["DFDC_Fake"] = groups.get("DFDC_Fake", {})
        groups["DFDC_Fake"]["val"] = {"label": "DFDC_Fake", "frames": ["nowhere/000.png"]}
    temporary = tmp_path_factory.mktemp("tree")  # removed later: that takes longer than the test
    root = temporary / folder
    write_frames(root, truths)
    index = temporary / "deep/er/index.json"
    index.parent.mkdir(parents=True)
    index.write_text(json.dumps({dataset: groups}))
    below = random.choice((root, root.parent))

    def read(split):
        return read_source(index, Selection(split, compression, root=below))

    check_splits(read, truths, lambda t: [root / t.folder / "frames" / t.name / name for name in t.frames])
