"""Where images come from: a folder with `real/` and `fake/`, a CSV, or a plain folder of images."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from brevitas_defakeq.errors import UserError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
LABELS = {"0": 0, "1": 1, "real": 0, "fake": 1}
CLASS_FOLDERS = {"real": 0, "fake": 1}


@dataclass(frozen=True)
class Sample:
    """One image: its file, label (0 real, 1 fake, None unknown), video, data set and how it was forged.

    `manipulation` names the forgery of a fake ("" where nobody says).
    """

    path: Path
    label: int | None
    video: str
    dataset: str
    manipulation: str = ""


def read_source(path: str | os.PathLike) -> list[Sample]:
    """All images of a source, sorted by path, the same on every machine.

    `path` is a folder with `real/` and `fake/` (searched to any depth), a CSV with the columns
    `path,label[,video][,dataset]`, or a plain folder of images (labels None). In folders a video is the
    images' own sub-folder, relative to `path`; images that lie directly in `real/`, `fake/` or `path` are
    each their own. Raises UserError if the source is missing, empty, or not understood.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(
            f"{path} does not exist; give a folder of images or a CSV with the columns path,label"
        )
    if path.is_dir():
        samples = _read_folder(path)
    elif path.suffix.lower() == ".csv":
        samples = _read_csv(path)
    else:
        raise UserError(f"{path} is neither a folder nor a .csv file; give a folder of images or a CSV")
    if not samples:
        raise UserError(f"{path} holds no images; looked for {', '.join(IMAGE_SUFFIXES)}")
    return sorted(samples, key=lambda sample: (sample.path.as_posix(), sample.label is None, sample.label))


def data_hash(samples: Iterable[Sample]) -> str:
    """SHA-256 (hex) over the images: name below their common folder, label and bytes of each, in name order.

    The same images give the same hash wherever they lie and in whatever order they are given.
    """
    samples = list(samples)
    paths = [os.path.abspath(sample.path) for sample in samples]
    folder = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
    rows = [
        (Path(path).relative_to(folder).as_posix(), str(sample.label), path)
        for path, sample in zip(paths, samples, strict=True)
    ]
    digest = hashlib.sha256()
    for name, label, path in sorted(rows):
        digest.update(f"{name}\0{label}\0{file_sha256(path)}\n".encode())
    return digest.hexdigest()


def file_sha256(path: str | os.PathLike) -> str:
    """SHA-256 (hex) of a file's bytes, read in pieces; raises UserError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


def _read_folder(root: Path) -> list[Sample]:
    """The labelled images below `real/` and `fake/`, or, where neither exists, all images without labels."""
    classes = {entry: CLASS_FOLDERS.get(entry.name.lower()) for entry in root.iterdir() if entry.is_dir()}
    labelled = {folder: label for folder, label in classes.items() if label is not None}
    dataset = root.resolve().name
    if not labelled:
        return [Sample(file, None, _video(file, root, root), dataset) for file in _images_below(root)]
    return [
        Sample(file, label, _video(file, folder, root), dataset)
        for folder, label in labelled.items()
        for file in _images_below(folder)
    ]


def _images_below(folder: Path) -> Iterator[Path]:
    """The image files below a folder; follows links (each real folder once), passes over hidden names."""
    seen = set()
    for current, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(current)
        folders[:] = [] if real in seen else [name for name in folders if not name.startswith(".")]
        if real in seen:
            continue
        seen.add(real)
        for name in files:
            if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith("."):
                yield Path(current, name)


def _video(file: Path, class_folder: Path, root: Path) -> str:
    """The image's folder below the root, or the image itself where it lies directly in the class folder."""
    own = file.with_suffix("") if file.parent == class_folder else file.parent
    return own.relative_to(root).as_posix()


def _read_csv(path: Path) -> list[Sample]:
    """The rows of a CSV; raises UserError for missing columns, bad labels and missing files."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
            _check_columns(path, reader.fieldnames)
            rows = [(reader.line_num, _csv_sample(path, reader.line_num, row)) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a CSV in UTF-8: {error}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    _check_files(path, rows)
    return [sample for _, sample in rows]


def _check_columns(path: Path, columns: Iterable[str]) -> None:
    missing = [name for name in ("path", "label") if name not in columns]
    if missing:
        raise UserError(
            f"{path} has no column {' and no column '.join(missing)}; its first line must name the columns "
            f"path,label[,video][,dataset], it names {','.join(columns) or 'nothing'}"
        )


def _csv_sample(csv_path: Path, line: int, row: dict[str, str]) -> Sample:
    """One row as a sample; by default each image is its own video and the data set the CSV's name."""
    name = (row["path"] or "").strip().replace("\\", "/")
    label = LABELS.get((row["label"] or "").strip().lower())
    if not name:
        raise UserError(
            f"{csv_path}, line {line}: the path is empty; write the image's path or remove the line"
        )
    if label is None:
        raise UserError(f"{csv_path}, line {line}: label {row['label']!r} is not one of 0, 1, real, fake")
    video = (row.get("video") or "").strip() or Path(name).with_suffix("").as_posix()
    dataset = (row.get("dataset") or "").strip() or csv_path.stem
    return Sample(csv_path.parent / name, label, video, dataset)


def _check_files(csv_path: Path, rows: list[tuple[int, Sample]]) -> None:
    """Refuse a CSV that names files which do not exist."""
    lost = [(line, sample.path) for line, sample in rows if not sample.path.is_file()]
    if lost:
        line, first = lost[0]
        raise UserError(
            f"{csv_path}: {len(lost)} of {len(rows)} files do not exist, the first is {first} (line {line}); "
            "paths are absolute or relative to the folder of the CSV"
        )
