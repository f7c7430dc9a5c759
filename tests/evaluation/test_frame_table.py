"""What samples say, as numbers: what is one video, one folder, one name."""

from pathlib import Path

import numpy as np

from brevitas_defakeq.data.sources import Sample
from brevitas_defakeq.evaluation.frame_table import FrameTable


def made():
    rows = [
        ("FF/real/c23/frames/01/0.png", 0, "01", "FF", ""),
        ("FF/fake/c23/frames/01/0.png", 1, "01", "FF", "Deepfakes"),
        ("CD/fake/frames/01/0.png", 1, "01", "CD", ""),
        ("FF/fake/c23/frames/01/1.png", 1, "01", "FF", "Deepfakes"),
    ]
    return FrameTable.from_samples(Sample(Path(path), *rest) for path, *rest in rows)


def test_a_video_is_one_within_data_set_and_label():
    frames = made()
    assert frames.labels.tolist() == [0, 1, 1, 1] and len(frames) == 4
    assert frames.videos.tolist() == [0, 1, 2, 1]
    assert frames.folders.tolist() == [0, 0, 0, 0]
    for column, expected in (
        (frames.datasets, ["FF", "FF", "CD", "FF"]),
        (frames.manipulations, ["", "Deepfakes", "", "Deepfakes"]),
    ):
        assert [column.names[code] for code in column.codes] == expected


def test_frames_are_chosen_by_mask_or_place():
    frames = made()
    for chosen in (np.array([False, True, False, True]), np.array([1, 3])):
        some = frames[chosen]
        assert some.labels.tolist() == [1, 1] and some.videos.tolist() == [1, 1]
        assert [some.datasets.names[code] for code in some.datasets.codes] == ["FF", "FF"]


def test_a_million_names_are_a_few_bytes_each():
    frames = made()
    size = sum(each.itemsize for each in (frames.labels, frames.videos, frames.folders))
    assert size + frames.datasets.codes.itemsize + frames.manipulations.codes.itemsize == 17
