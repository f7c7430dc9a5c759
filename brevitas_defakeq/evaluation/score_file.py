"""Scores as a CSV, a line a frame: written batch by batch, whole or not at all, and read back exactly."""

from __future__ import annotations

import csv
import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from brevitas_defakeq.data.sources import Sample
from brevitas_defakeq.evaluation.frame_table import FrameTable
from brevitas_defakeq.evaluation.metrics import probabilities
from brevitas_defakeq.utils.errors import UserError
from brevitas_defakeq.utils.files import check_writable, written_whole

if TYPE_CHECKING:
    from brevitas_defakeq.evaluation.predict import Outputs  # imports torch

HEADER = ("path", "label", "dataset", "manipulation", "video", "logit", "probability")


@dataclass(frozen=True)
class ScoreFile:
    """A file's frames, their logits [N], and a hash over the frames' paths and labels, in order."""

    frames: FrameTable
    logits: np.ndarray
    digest: str


def write_scores(outputs: Iterable[Outputs], samples: Sequence[Sample], folder: Path) -> Iterator[Outputs]:
    """The same outputs; the logits of each variant are written to ``FOLDER/<variant>.csv`` meanwhile."""
    check_writable(folder)
    done, write = 0, {}
    with ExitStack() as stack:
        for batch in outputs:
            count = len(next(iter(batch.values())).logits)
            for variant, output in batch.items():
                if variant not in write:
                    write[variant] = stack.enter_context(score_writer(folder / f"{variant}.csv"))
                write[variant](samples[done : done + count], output.logits)
            done += count
            yield batch


@contextmanager
def score_writer(path: Path) -> Iterator[Callable[[Sequence[Sample], np.ndarray], None]]:
    """Gives ``write(samples, logits)``; the file appears, whole, when the context ends without an error."""
    with (
        written_whole(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(HEADER)

        def write(samples: Sequence[Sample], logits: np.ndarray) -> None:
            # As doubles, whose shortest text reads back as the same number.
            values = np.asarray(logits, dtype=np.float64)
            shares = probabilities(values).tolist()
            for sample, logit, share in zip(samples, values.tolist(), shares, strict=True):
                label = "" if sample.label is None else sample.label
                names = sample.dataset, sample.manipulation, sample.video
                lines.writerow((sample.path.as_posix(), label, *names, repr(logit), f"{share:.6g}"))

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
        frames = FrameTable.from_rows(rows())
    except ValueError as error:
        raise UserError(
            f"{path}, line {len(logits) + 2}: {error}; a line holds {','.join(HEADER)}, label 0 or 1"
        ) from None
    return ScoreFile(frames, np.asarray(logits), digest.hexdigest())


def read_scores_together(files: Mapping[str, Path]) -> tuple[FrameTable, dict[str, np.ndarray]]:
    """Several variants' scores of the same frames; UserError where the files differ in their frames."""
    read = {variant: read_scores(path) for variant, path in files.items()}
    (first, reference), *others = read.items()
    for variant, found in others:
        if found.digest != reference.digest:
            raise UserError(
                f"{files[variant]} and {files[first]} hold scores of different frames; "
                "score the same data again"
            )
    return reference.frames, {variant: found.logits for variant, found in read.items()}


def _lines(path: Path) -> Iterator[list[str]]:
    """The lines below the header, split and counted."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            if tuple(next(reader, ())) != HEADER:
                raise UserError(f"{path} is no score file; its first line must be {','.join(HEADER)}")
            for line in reader:
                if len(line) != len(HEADER):
                    raise ValueError(f"{len(line)} values instead of {len(HEADER)}")
                yield line
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no CSV in UTF-8: {error}") from None
