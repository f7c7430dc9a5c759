"""A CSV that lists images (or videos): `path,label[,video][,dataset][,manipulation][,split]`."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from brevitas_defakeq.data.listing import Listing, ListingBuilder
from brevitas_defakeq.imaging.sample import LABELS
from brevitas_defakeq.imaging.stored_files import absent
from brevitas_defakeq.utils.errors import UserError

_COLUMNS = "path,label[,video][,dataset][,manipulation][,split]"
#: Other spellings in the column `split` -> one of train, val, test.
_SPLITS = {"valid": "val", "validation": "val", "dev": "val", "training": "train", "testing": "test"}


def read_csv(path: Path, split: str = "all") -> Listing:
    """The rows of a CSV, sorted by path; paths are absolute or relative to the CSV's folder.

    By default each image is its own video and the data set is the CSV's name. Where rows belong to several
    splits, `split` chooses one (train, val, test, or all). Raises UserError for missing columns, bad labels,
    missing files, and for an image listed with both labels.
    """
    rows, lines = ListingBuilder(), array("i")
    splits: list[str] = []
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
            _check_columns(path, reader.fieldnames)
            for row in reader:
                _add(rows, path, reader.line_num, row)
                lines.append(reader.line_num)
                splits.append((row.get("split") or "").strip().lower())
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a CSV in UTF-8: {error}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    listing = rows.listing()
    _check_files(path, listing, lines)
    _check_labels(path, listing)
    return _of_split(path, listing, splits, split).by_path()


def _check_columns(path: Path, columns: Iterable[str]) -> None:
    missing = [name for name in ("path", "label") if name not in columns]
    if missing:
        raise UserError(
            f"{path} has no column {' and no column '.join(missing)}; its first line must name the columns "
            f"{_COLUMNS}, it names {','.join(columns) or 'nothing'}"
        )


def _of_split(csv_path: Path, listing: Listing, splits: list[str], wanted: str) -> Listing:
    """The rows of one split and those without a split; all rows where the CSV has only one split."""
    known = np.array([_SPLITS.get(split, split) for split in splits])
    present = sorted(set(known) - {""})
    if wanted == "all" or len(present) < 2:
        return listing
    if wanted not in present:
        raise UserError(
            f"{csv_path} has no rows of split {wanted}; its column split says {', '.join(present)}"
        )
    return listing.take((known == wanted) | (known == ""))


def _add(rows: ListingBuilder, csv_path: Path, line: int, row: dict[str, str]) -> None:
    name = (row["path"] or "").strip().replace("\\", "/")
    label = LABELS.get((row["label"] or "").strip().lower())
    if not name:
        raise UserError(
            f"{csv_path}, line {line}: the path is empty; write the image's path or remove the line"
        )
    if label is None:
        raise UserError(f"{csv_path}, line {line}: label {row['label']!r} is not one of 0, 1, real, fake")
    video, dataset, manipulation = (
        (row.get(column) or "").strip() for column in ("video", "dataset", "manipulation")
    )
    path = csv_path.parent / name
    rows.add(
        str(path.parent), [path.name], label=label, manipulation=manipulation,
        video=video or Path(name).with_suffix("").as_posix(), dataset=dataset or csv_path.stem,
    )  # fmt: skip


def _check_files(csv_path: Path, listing: Listing, lines: array) -> None:
    """Refuse a CSV that names files which do not exist; each folder is listed once."""
    folders, names = listing.codes("folder"), listing.codes("name")
    rows = np.argsort(folders, kind="stable")
    lost: list[int] = []
    for own in np.split(rows, np.flatnonzero(np.diff(folders[rows])) + 1) if len(rows) else ():
        missing = set(absent(listing.strings[folders[own[0]]], [listing.strings[names[row]] for row in own]))
        lost += [row for row in own if listing.strings[names[row]] in missing] if missing else []
    if lost:
        first = min(lost)
        raise UserError(
            f"{csv_path}: {len(lost)} of {len(listing)} files do not exist, the first is "
            f"{listing[first].path} (line {lines[first]}); paths are absolute or relative to the folder of "
            "the CSV"
        )


def _check_labels(csv_path: Path, listing: Listing) -> None:
    files = listing.codes("folder").astype(np.int64) * len(listing.strings) + listing.codes("name")
    both = np.intersect1d(files[listing.labels == 0], files[listing.labels == 1])
    if len(both):
        first = listing[int(np.flatnonzero(files == both[0])[0])].path
        raise UserError(
            f"{csv_path}: {len(both)} files are listed both as real and as fake, the first is {first}; "
            "give each file one label"
        )
