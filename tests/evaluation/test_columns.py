"""What samples say, as numbers: what is one video, one folder, one name."""

from pathlib import Path

import numpy as np

from brevitas_defakeq.data.sources import Sample
from brevitas_defakeq.evaluation.columns import Columns


def made():
    rows = [
        ("FF/real/c23/frames/01/0.png", 0, "01", "FF", ""),
        ("FF/fake/c23/frames/01/0.png", 1, "01", "FF", "Deepfakes"),
        ("CD/fake/frames/01/0.png", 1, "01", "CD", ""),
        ("FF/fake/c23/frames/01/1.png", 1, "01", "FF", "Deepfakes"),
    ]
    return Columns.of(Sample(Path(path), *rest) for path, *rest in rows)


def test_a_video_is_one_within_data_set_and_label():
    columns = made()
    assert columns.labels.tolist() == [0, 1, 1, 1] and len(columns) == 4
    assert columns.videos.tolist() == [0, 1, 2, 1]
    assert columns.folders.tolist() == [0, 0, 0, 0]
    for column, expected in (
        (columns.datasets, ["FF", "FF", "CD", "FF"]),
        (columns.manipulations, ["", "Deepfakes", "", "Deepfakes"]),
    ):
        assert [column.names[code] for code in column.codes] == expected


def test_frames_are_chosen_by_mask_or_place():
    columns = made()
    for chosen in (np.array([False, True, False, True]), np.array([1, 3])):
        some = columns[chosen]
        assert some.labels.tolist() == [1, 1] and some.videos.tolist() == [1, 1]
        assert [some.datasets.names[code] for code in some.datasets.codes] == ["FF", "FF"]


def test_a_million_names_are_a_few_bytes_each():
    columns = made()
    size = sum(each.itemsize for each in (columns.labels, columns.videos, columns.folders))
    assert size + columns.datasets.codes.itemsize + columns.manipulations.codes.itemsize == 17
