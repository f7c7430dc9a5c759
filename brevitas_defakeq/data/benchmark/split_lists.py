"""The lists that come with a data set: each video's split, and its label where no folder gives it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from brevitas_defakeq.data.selection import SPLITS
from brevitas_defakeq.utils.errors import UserError

#: A class folder relative to the data set's, and a video's name without its suffix.
VideoKey = tuple[str, str]

#: Folders that may hold the three lists of FaceForensics++; the download does not contain them.
_PAIR_FOLDERS = ("", "splits", "dataset/splits")
_TEST_LIST = "List_of_testing_videos.txt"
_DFDC_LISTS = ("labels.csv", "metadata.json")


@dataclass(frozen=True)
class SplitLists:
    """The contents of a data set's lists.

    Attributes:
        splits: of the listed videos.
        unlisted: the splits of all other videos.
        labels: 0 (real) or 1 (fake), where the class folder does not tell.
        missing: what to do about a missing list; empty if there is none.
    """

    splits: Mapping[VideoKey, tuple[str, ...]] = field(default_factory=dict)
    unlisted: tuple[str, ...] = ()
    labels: Mapping[VideoKey, int] = field(default_factory=dict)
    missing: str = ""


#: Reads the lists of the data set in a folder, given its class folders (relative, "." for itself).
ReadLists = Callable[[Path, list[str]], SplitLists]


def no_split(root: Path, folders: list[str]) -> SplitLists:
    """Every video is in every split."""
    return SplitLists(unlisted=SPLITS)


def pairs(root: Path, folders: list[str]) -> SplitLists:
    """FaceForensics++: lists of pairs (a, b), each of which puts a, b, a_b and b_a into a split."""
    splits: dict[VideoKey, tuple[str, ...]] = {}
    for split in SPLITS:
        candidates = [root / folder / f"{split}.json" for folder in _PAIR_FOLDERS]
        file = next(filter(Path.is_file, candidates), None)
        if file is None:
            return SplitLists(
                missing=f"{root} has no {split}.json; put train.json, val.json and test.json there "
                "(FaceForensics' dataset/splits), or take split=all"
            )
        for first, second in _pairs_of(file):
            for folder in folders:
                original = folder.startswith("original_sequences")
                names = (first, second) if original else (f"{first}_{second}", f"{second}_{first}")
                splits.update({(folder, name): (split,) for name in names})
    return SplitLists(splits)


def testing_list(root: Path, folders: list[str]) -> SplitLists:
    """Celeb-DF: the test videos, which also validate; all others train.

    A line is `1 YouTube-real/00170.mp4`. The folder gives the label; the number, where 1 means real, is
    ignored.
    """
    file = root / _TEST_LIST
    if not file.is_file():
        return SplitLists(
            missing=f"{root} has no {_TEST_LIST}; it comes with the download, or take split=all"
        )
    splits: dict[VideoKey, tuple[str, ...]] = {}
    for number, line in enumerate(_text(file).splitlines(), start=1):
        if not line.strip():
            continue
        name = PurePosixPath(line.split(maxsplit=1)[-1].strip().replace("\\", "/"))
        if len(name.parts) != 2:
            raise UserError(f"{file}, line {number}: {line.strip()!r} is not as in 1 YouTube-real/00170.mp4")
        splits[name.parts[0], name.stem] = ("val", "test")
    return SplitLists(splits, unlisted=("train",))


def dfdcp(root: Path, folders: list[str]) -> SplitLists:
    """DFDC preview: `dataset.json` lists each video by its path; its test videos also validate."""
    file = root / "dataset.json"
    if not file.is_file():
        return SplitLists(
            missing=f"{root} has no dataset.json; it comes with the download, or take split=all"
        )
    splits: dict[VideoKey, tuple[str, ...]] = {}
    for path, known in _object(file).items():
        name = PurePosixPath(path.replace("\\", "/"))
        split, label = (known.get("set"), known.get("label")) if isinstance(known, dict) else (None, None)
        if split not in ("train", "test") or label not in ("real", "fake") or len(name.parts) < 2:
            raise UserError(
                f"{file}: {path} has no set (train, test) or label (real, fake); download it again"
            )
        if (label == "real") != (name.parts[0] == "original_videos"):
            raise UserError(
                f"{file}: {path} is labelled {label}, which its folder contradicts; download it again"
            )
        splits[name.parts[0], name.stem] = ("train",) if split == "train" else ("val", "test")
    return SplitLists(splits)


def dfdc(root: Path, folders: list[str]) -> SplitLists:
    """DFDC: `labels.csv` beside the test videos, `metadata.json` in every part of the training videos."""
    splits: dict[VideoKey, tuple[str, ...]] = {}
    labels: dict[VideoKey, int] = {}
    for folder in folders:
        table, metadata = (root / folder / name for name in _DFDC_LISTS)
        if table.is_file():
            known, split = _labels_csv(table), "test"
        elif metadata.is_file():
            known, split = _metadata(metadata), "train"
        else:
            continue
        for stem, label in known.items():
            labels[folder, stem], splits[folder, stem] = label, (split,)
    if not labels:
        raise UserError(
            f"{root} has neither test/labels.csv nor train/dfdc_train_part_*/metadata.json, and without them "
            "no labels; they come with the download"
        )
    return SplitLists(splits, labels=labels)


def has_dfdc_list(folder: Path) -> bool:
    """Whether a folder holds a list of DFDC's labels."""
    return any((folder / name).is_file() for name in _DFDC_LISTS)


def _pairs_of(file: Path) -> list[tuple[str, str]]:
    found = _json(file)
    if not isinstance(found, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in found):
        raise UserError(f'{file} is no list of pairs as in [["953", "974"], ...]; take the official one')
    return [(str(first), str(second)) for first, second in found]


def _labels_csv(file: Path) -> dict[str, int]:
    rows = list(csv.DictReader(_text(file).splitlines(), skipinitialspace=True))
    if rows and not {"filename", "label"} <= set(rows[0]):
        raise UserError(f"{file} does not name the columns filename,label in its first line")
    wrong = [row["filename"] for row in rows if row["label"] not in ("0", "1")]
    if wrong:
        raise UserError(f"{file}: {len(wrong)} labels are not 0 or 1 (fake), the first that of {wrong[0]}")
    return {PurePosixPath(row["filename"]).stem: int(row["label"]) for row in rows}


def _metadata(file: Path) -> dict[str, int]:
    words = {"REAL": 0, "FAKE": 1}
    found = {}
    for name, known in _object(file).items():
        label = words.get(str(known.get("label"))) if isinstance(known, dict) else None
        if label is None:
            raise UserError(f"{file}: {name} has no label REAL or FAKE; download the file again")
        found[PurePosixPath(name).stem] = label
    return found


def _object(file: Path) -> dict[str, Any]:
    found = _json(file)
    if not isinstance(found, dict):
        raise UserError(f"{file} holds no JSON object; download it again")
    return found


def _json(file: Path) -> Any:
    try:
        return json.loads(_text(file))
    except ValueError as error:
        raise UserError(f"{file} is not JSON ({error}); download it again") from None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read ({error}); download it again") from None
