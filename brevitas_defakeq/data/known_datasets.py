"""``describe_datasets``: which data sets and layouts are understood, and what their folders look like."""

from __future__ import annotations

from typing import Any

from brevitas_defakeq.data import layout as layouts
from brevitas_defakeq.data.benchmark.catalog import CATALOG, Dataset

#: Layout -> what lies there.
_LAYOUTS = {
    layouts.INDEX: "NAME.json (or NAME_c40.json): {data set: {label: {split: {[c23:] {video: {label, "
    "frames}}}}}}; the folder that holds the data sets as root",
    layouts.FRAMES: "a data set's folder, or the one above several: CLASS FOLDER/frames/VIDEO/000.png",
    layouts.VIDEOS: "a data set's folder, or the one above several: CLASS FOLDER/[videos/]VIDEO.mp4",
    layouts.CLASSES: "real/ and fake/ (or 0_real/ and 1_fake/), images at any depth; a sub-folder is a video",
    layouts.TABLE: "path,label[,video][,dataset][,manipulation][,split]; label 0 or real, 1 or fake",
    layouts.SHARDS: "NAME.tar, or a folder of them: KEY.png (or .jpg) and KEY.cls (0, 1) or KEY.json "
    '({"label": 1, "video": "a", "dataset": "b", "manipulation": "c"})',
    layouts.PLAIN: "any folder of images: calibration only",
}


def describe_datasets() -> dict[str, list[dict[str, Any]]]:
    """`datasets`: name, class folders, labels, splits of each data set that is known by name; `layouts`.

    In a class folder's path "{c}" stands for raw, c23 or c40.
    """
    return {
        "datasets": [_described(dataset) for dataset in CATALOG.values()],
        "layouts": [{"name": name, "looks_like": text} for name, text in _LAYOUTS.items()],
    }


def _described(dataset: Dataset) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "folders": [part.path for part in dataset.classes],
        "compressed": dataset.compressed,
        "labels": {kind: ("real", "fake")[label] for kind, label in dataset.kinds.items()},
        "splits": dataset.split,
        "part_of": "FaceForensics++" if dataset.subset else None,
    }
