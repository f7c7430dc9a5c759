"""The data sets known by name: one table with a description of each."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from brevitas_defakeq.data.benchmark import split_lists
from brevitas_defakeq.data.benchmark.split_lists import ReadLists
from brevitas_defakeq.data.selection import COMPRESSIONS


@dataclass(frozen=True)
class ClassFolder:
    """A folder below the data set's own whose videos share a label.

    Attributes:
        path: a glob pattern; "{c}" in it is replaced by the compression.
        label_name: DeepfakeBench's name of the label; empty where the data set's lists label each video.
    """

    path: str
    label_name: str = ""


@dataclass(frozen=True)
class Dataset:
    """The folder layout of a data set.

    Attributes:
        labels: DeepfakeBench's label names -> 0 (real) or 1 (fake).
        classes: the folders of its videos.
        read_lists: reads its official splits, and labels.
        is_at: whether a folder is this data set's.
        split: where its splits come from, in words.
        subset: whether it is a part of another data set, used only when requested by name.
    """

    name: str
    labels: dict[str, int]
    classes: tuple[ClassFolder, ...]
    read_lists: ReadLists
    is_at: Callable[[Path], bool]
    split: str
    subset: bool = False

    @property
    def compressed(self) -> bool:
        """Whether it comes as raw, c23 and c40."""
        return any("{c}" in folder.path for folder in self.classes)

    def folders(self, root: Path, compression: str) -> dict[str, ClassFolder]:
        """Its class folders that exist, relative to `root`; of DFDC's many, those that hold data."""
        found = {}
        for class_folder in self.classes:
            pattern = class_folder.path.replace("{c}", compression)
            for folder in [root] if pattern == "." else sorted(root.glob(pattern)):
                if folder.is_dir() and (class_folder.label_name or _holds_data(folder)):
                    found[folder.relative_to(root).as_posix()] = class_folder
        return found

    def compressions(self, root: Path) -> list[str]:
        """The compressions that exist; [""] for a data set that has none."""
        names = COMPRESSIONS if self.compressed else ("",)
        return [compression for compression in names if self.folders(root, compression)]


def _holds_data(folder: Path) -> bool:
    """Whether a folder directly holds frames or videos."""
    return any((folder / name).is_dir() for name in ("frames", "videos")) or any(
        entry.suffix.lower() == ".mp4" for entry in folder.iterdir()
    )


def _has(*folders: str) -> Callable[[Path], bool]:
    return lambda root: any(folder.is_dir() for pattern in folders for folder in root.glob(pattern))


def _named(pattern: str, *folders: str) -> Callable[[Path], bool]:
    """As `_has`, where the folder's own name must match as well."""
    return lambda root: bool(re.search(pattern, root.resolve().name, re.I)) and _has(*folders)(root)


def _dfdc(root: Path) -> bool:
    """By its name, or by its lists beside frames or videos."""
    return _named(r"dfdc(?!.?p)", "test/frames", "test/videos", f"train/{_PART}", _PART)(root) or any(
        _holds_data(folder) and split_lists.has_dfdc_list(folder)
        for class_folder in _DFDC_FOLDERS
        for folder in ([root] if class_folder.path == "." else root.glob(class_folder.path))
    )


def _forensics(name: str, methods: dict[str, str], *, subset: bool = False) -> Dataset:
    """A part of the FaceForensics++ download: its YouTube videos and some of the manipulation methods."""
    return Dataset(
        name=name,
        labels={"FF-real": 0} | dict.fromkeys(methods, 1),
        classes=(
            ClassFolder("original_sequences/youtube/{c}", "FF-real"),
            *(ClassFolder(f"manipulated_sequences/{folder}/{{c}}", name) for name, folder in methods.items()),
        ),
        read_lists=split_lists.pairs,
        is_at=_has(*(f"manipulated_sequences/{folder}" for folder in methods.values())),
        split="train.json, val.json and test.json (pairs) in the folder",
        subset=subset,
    )


def _celeb(version: str, named: str) -> Dataset:
    real, fake = f"CelebDF{version}_real", f"CelebDF{version}_fake"
    return Dataset(
        name=f"Celeb-DF-{version}",
        labels={real: 0, fake: 1},
        classes=(
            ClassFolder("Celeb-real", real), ClassFolder("YouTube-real", real),
            ClassFolder("Celeb-synthesis", fake),
        ),
        read_lists=split_lists.testing_list,
        is_at=_named(named, "Celeb-real", "Celeb-synthesis"),
        split="test and val: List_of_testing_videos.txt in the folder; train: all others",
    )  # fmt: skip


_METHODS = {"FF-DF": "Deepfakes", "FF-F2F": "Face2Face", "FF-FS": "FaceSwap", "FF-NT": "NeuralTextures"}
_PART = "dfdc_train_part_*"
_DFDC_FOLDERS = tuple(
    ClassFolder(path)
    for path in (".", "test", _PART, f"{_PART}/{_PART}", f"train/{_PART}", f"train/{_PART}/{_PART}")
)

#: Name -> description. Where several match a folder, the first one counts.
CATALOG = {
    dataset.name: dataset
    for dataset in (
        _forensics("FaceForensics++", _METHODS),
        _forensics("FaceShifter", {"FF-FH": "FaceShifter"}),
        Dataset(
            name="DeepFakeDetection",
            labels={"DFD_real": 0, "DFD_fake": 1},
            classes=(
                ClassFolder("original_sequences/actors/{c}", "DFD_real"),
                ClassFolder("manipulated_sequences/DeepFakeDetection/{c}", "DFD_fake"),
            ),
            read_lists=split_lists.no_split,
            is_at=_has("original_sequences/actors", "manipulated_sequences/DeepFakeDetection"),
            split="none: every video is in train, val and test",
        ),
        _celeb("v1", r"v1"),
        _celeb("v2", r"^(?!.*v1)"),
        Dataset(
            name="DFDCP",
            labels={"DFDCP_Real": 0, "DFDCP_FakeA": 1, "DFDCP_FakeB": 1},
            classes=(
                ClassFolder("original_videos", "DFDCP_Real"), ClassFolder("method_A", "DFDCP_FakeA"),
                ClassFolder("method_B", "DFDCP_FakeB"),
            ),
            read_lists=split_lists.dfdcp,
            is_at=_has("original_videos", "method_A", "method_B"),
            split="dataset.json in the folder; val is test",
        ),
        Dataset(
            name="DFDC",
            labels={"DFDC_Real": 0, "DFDC_Fake": 1},
            classes=_DFDC_FOLDERS,
            read_lists=split_lists.dfdc,
            is_at=_dfdc,
            split="test: labels.csv beside the videos; train: metadata.json in every part; val: none",
        ),
        Dataset(
            name="UADFV",
            labels={"UADFV_Real": 0, "UADFV_Fake": 1},
            classes=(ClassFolder("real", "UADFV_Real"), ClassFolder("fake", "UADFV_Fake")),
            read_lists=split_lists.no_split,
            is_at=_named("uadfv", "real", "fake"),
            split="none: every video is in train, val and test",
        ),
        *(_forensics(name, {name: folder}, subset=True) for name, folder in _METHODS.items()),
    )
}  # fmt: skip

#: Every known label name -> 0 (real) or 1 (fake); the last ones occur in indexes of further data sets.
LABEL_NAMES = {name: label for dataset in CATALOG.values() for name, label in dataset.labels.items()} | {
    "FF-SH": 1, "DF_real": 0, "DF_fake": 1, "roop_Real": 0, "roop_Fake": 1, "real": 0, "fake": 1,
    "0_real": 0, "1_fake": 1,
}  # fmt: skip
