"""``describe_datasets``: the data sets and layouts that are understood."""

from __future__ import annotations

from typing import Any

from brevitas_defakeq.data.benchmark.catalog import CATALOG, Dataset
from brevitas_defakeq.data.layout import LayoutKind

#: Layout -> its files.
_LAYOUTS = {
    LayoutKind.INDEX: "NAME.json (or NAME_c40.json): {data set: {label: {split: {[c23:] {video: {label, "
    "frames}}}}}}; --root is the folder that holds the data sets",
    LayoutKind.FRAMES: "a data set's folder, or the one above several: CLASS FOLDER/frames/VIDEO/000.png",
    LayoutKind.VIDEOS: "a data set's folder, or the one above several: CLASS FOLDER/[videos/]VIDEO.mp4",
    LayoutKind.CLASSES: "real/ and fake/ (or 0_real/ and 1_fake/), images at any depth; a sub-folder is "
    "a video",
    LayoutKind.TABLE: "path,label[,video][,dataset][,manipulation][,split]; label 0 or real, 1 or fake",
    LayoutKind.SHARDS: "NAME.tar, or a folder of them: KEY.png (or .jpg) and KEY.cls (0, 1) or KEY.json "
    '({"label": 1, "video": "a", "dataset": "b", "manipulation": "c"})',
    LayoutKind.PLAIN: "any folder of images: calibration only",
}


def describe_datasets() -> dict[str, list[dict[str, Any]]]:
    """JSON-able: `datasets` (name, class folders, labels and splits of each known one) and `layouts`.

    "{c}" in a class folder's path means raw, c23 or c40.
    """
    return {
        "datasets": [_described(dataset) for dataset in CATALOG.values()],
        "layouts": [{"name": name, "looks_like": text} for name, text in _LAYOUTS.items()],
    }


def _described(dataset: Dataset) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "folders": [folder.path for folder in dataset.classes],
        "compressed": dataset.compressed,
        "labels": {name: ("real", "fake")[label] for name, label in dataset.labels.items()},
        "splits": dataset.split,
        "part_of": "FaceForensics++" if dataset.subset else None,
    }
