"""Scores as a CSV, a line a frame: written batch by batch, whole or not at all, and read back exactly."""

from __future__ import annotations

import csv
import hashlib
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from brevitas_defakeq.data.sources import Sample
from brevitas_defakeq.evaluation.columns import Columns
from brevitas_defakeq.evaluation.metrics import probabilities
from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import written_whole

COLUMNS = ("path", "label", "dataset", "manipulation", "video", "logit", "probability")


@dataclass(frozen=True)
class ScoreFile:
    """A file's frames as columns, their logits [N], and a hash of what frames they are, in order."""

    columns: Columns
    logits: np.ndarray
    frames: str


@contextmanager
def score_writer(path: Path) -> Iterator[Callable[[Sequence[Sample], np.ndarray], None]]:
    """``write(samples, logits)`` for the length of the context; the file is there when it has ended well."""
    with (
        written_whole(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(COLUMNS)

        def write(samples: Sequence[Sample], logits: np.ndarray) -> None:
            # As doubles, whose shortest text reads back as the same number.
            values = np.asarray(logits, dtype=np.float64)
            shares = probabilities(values).tolist()
            for sample, logit, share in zip(samples, values.tolist(), shares, strict=True):
                label = "" if sample.label is None else sample.label
                name = sample.path.as_posix()
                lines.writerow(
                    (
                        name,
                        label,
                        sample.dataset,
                        sample.manipulation,
                        sample.video,
                        repr(logit),
                        f"{share:.6g}",
                    )
                )

        yield write


def read_scores(path: Path) -> ScoreFile:
    """A score file of labelled frames. Raises UserError for anything else, with the line that is wrong."""
    logits, digest = array("d"), hashlib.sha256()

    def rows() -> Iterator[tuple[int, str, str, str, str]]:
        for name, label, dataset, manipulation, video, logit, _ in _lines(path):
            if label not in ("0", "1"):
                raise ValueError(f"label {label!r}")
            logits.append(float(logit))
            digest.update(f"{name}\0{label}\n".encode())
            yield int(label), dataset, manipulation, video, PurePosixPath(name).parent.name

    try:
        columns = Columns.collect(rows())
    except ValueError as error:
        raise UserError(
            f"{path}, line {len(logits) + 2}: {error}; a line holds {','.join(COLUMNS)}, label 0 or 1"
        ) from None
    return ScoreFile(columns, np.asarray(logits), digest.hexdigest())


def read_scores_together(files: Mapping[str, Path]) -> tuple[Columns, dict[str, np.ndarray]]:
    """Several forms' scores of the same frames; UserError where the files differ in their frames."""
    read = {form: read_scores(path) for form, path in files.items()}
    (first, reference), *others = read.items()
    for form, found in others:
        if found.frames != reference.frames:
            raise UserError(
                f"{files[form]} and {files[first]} hold scores of different frames; score the same data again"
            )
    return reference.columns, {form: found.logits for form, found in read.items()}


def _lines(path: Path) -> Iterator[list[str]]:
    """The lines below the header, split and counted."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            if tuple(next(reader, ())) != COLUMNS:
                raise UserError(f"{path} is no score file; its first line must be {','.join(COLUMNS)}")
            for line in reader:
                if len(line) != len(COLUMNS):
                    raise ValueError(f"{len(line)} values instead of {len(COLUMNS)}")
                yield line
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no CSV in UTF-8: {error}") from None
