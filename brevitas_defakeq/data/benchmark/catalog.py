"""The data sets that are known by name: one description each, in one table."""

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

    `path` is a glob pattern, "{c}" in it stands for the compression; `kind` is DeepfakeBench's name of the
    label, empty where the data set's lists label each video.
    """

    path: str
    kind: str = ""


@dataclass(frozen=True)
class Dataset:
    """What a data set's folder looks like.

    Attributes:
        kinds: DeepfakeBench's label names -> 0 (real) or 1.
        classes: where its videos lie.
        read_lists: reads its official splits, and labels.
        is_at: tells whether a folder is this data set's.
        split: what its splits are, in words.
        subset: a part of another data set, taken only when it is asked for.
    """

    name: str
    kinds: dict[str, int]
    classes: tuple[ClassFolder, ...]
    read_lists: ReadLists
    is_at: Callable[[Path], bool]
    split: str
    subset: bool = False

    @property
    def compressed(self) -> bool:
        """Whether it comes as raw, c23 and c40."""
        return any("{c}" in part.path for part in self.classes)

    def folders(self, root: Path, compression: str) -> dict[str, ClassFolder]:
        """Its class folders that are there, relative to `root`; of DFDC's many, those in use."""
        found = {}
        for part in self.classes:
            pattern = part.path.replace("{c}", compression)
            for folder in [root] if pattern == "." else sorted(root.glob(pattern)):
                if folder.is_dir() and (part.kind or _in_use(folder)):
                    found[folder.relative_to(root).as_posix()] = part
        return found

    def compressions(self, root: Path) -> list[str]:
        """The compressions that are there; "" for a data set that has none."""
        names = COMPRESSIONS if self.compressed else ("",)
        return [compression for compression in names if self.folders(root, compression)]


def _in_use(folder: Path) -> bool:
    """Whether frames or videos lie directly in a folder."""
    return any((folder / name).is_dir() for name in ("frames", "videos")) or any(folder.glob("*.mp4"))


def _has(*folders: str) -> Callable[[Path], bool]:
    return lambda root: any(folder.is_dir() for pattern in folders for folder in root.glob(pattern))


def _named(pattern: str, *folders: str) -> Callable[[Path], bool]:
    """The same, where the folder's own name must match as well."""
    return lambda root: bool(re.search(pattern, root.resolve().name, re.I)) and _has(*folders)(root)


def _dfdc(root: Path) -> bool:
    """By its name, or by its lists beside frames or videos."""
    return _named(r"dfdc(?!.?p)", "test/frames", "test/videos", f"train/{_PART}", _PART)(root) or any(
        _in_use(folder) and split_lists.has_dfdc_list(folder)
        for part in _DFDC_FOLDERS
        for folder in ([root] if part.path == "." else root.glob(part.path))
    )


def _forensics(name: str, methods: dict[str, str], *, subset: bool = False) -> Dataset:
    """A part of the FaceForensics++ download: its YouTube videos and some of the methods."""
    return Dataset(
        name=name,
        kinds={"FF-real": 0} | dict.fromkeys(methods, 1),
        classes=(
            ClassFolder("original_sequences/youtube/{c}", "FF-real"),
            *(ClassFolder(f"manipulated_sequences/{folder}/{{c}}", kind) for kind, folder in methods.items()),
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
        kinds={real: 0, fake: 1},
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

#: Name -> description. Where several are at a folder, the first is the folder's own.
CATALOG = {
    dataset.name: dataset
    for dataset in (
        _forensics("FaceForensics++", _METHODS),
        _forensics("FaceShifter", {"FF-FH": "FaceShifter"}),
        Dataset(
            name="DeepFakeDetection",
            kinds={"DFD_real": 0, "DFD_fake": 1},
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
            kinds={"DFDCP_Real": 0, "DFDCP_FakeA": 1, "DFDCP_FakeB": 1},
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
            kinds={"DFDC_Real": 0, "DFDC_Fake": 1},
            classes=_DFDC_FOLDERS,
            read_lists=split_lists.dfdc,
            is_at=_dfdc,
            split="test: labels.csv beside the videos; train: metadata.json in every part; val: none",
        ),
        Dataset(
            name="UADFV",
            kinds={"UADFV_Real": 0, "UADFV_Fake": 1},
            classes=(ClassFolder("real", "UADFV_Real"), ClassFolder("fake", "UADFV_Fake")),
            read_lists=split_lists.no_split,
            is_at=_named("uadfv", "real", "fake"),
            split="none: every video is in train, val and test",
        ),
        *(_forensics(kind, {kind: folder}, subset=True) for kind, folder in _METHODS.items()),
    )
}  # fmt: skip

#: Every label name that is known; the last ones stand in indexes of further data sets.
KINDS = {kind: label for dataset in CATALOG.values() for kind, label in dataset.kinds.items()} | {
    "FF-SH": 1, "DF_real": 0, "DF_fake": 1, "roop_Real": 0, "roop_Fake": 1, "real": 0, "fake": 1,
    "0_real": 0, "1_fake": 1,
}  # fmt: skip
