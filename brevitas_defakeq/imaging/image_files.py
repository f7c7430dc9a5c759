"""Reading images: one, a batch, a stream of batches, and the check that they can be read at all."""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageOps

from brevitas_defakeq.imaging.preprocessing import Preprocessing, preprocess, to_rgb
from brevitas_defakeq.imaging.sample import Sample
from brevitas_defakeq.imaging.stored_files import open_file
from brevitas_defakeq.utils.errors import UserError

if TYPE_CHECKING:
    import os

    import torch


#: How a sample's picture is come by, 8-bit RGB.
Read = Callable[[Sample], Image.Image]
#: What PIL raises on damaged files, depending on the format and on where the damage lies.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError)
_DAMAGE += (struct.error, zlib.error, Image.DecompressionBombError)


@dataclass(frozen=True)
class Header:
    """Of an image file: its format ("PNG"), width and height in pixels, and JPEG's quantization tables."""

    format: str
    size: tuple[int, int]
    tables: tuple[tuple[int, ...], ...]


def load_image(path: str | os.PathLike) -> Image.Image:
    """The image as 8-bit RGB, turned upright where the file says so (EXIF).

    Raises UserError naming the file if it is missing, damaged, cut short, or no image.
    """
    try:
        with open_file(path) as file, Image.open(file) as image:
            return to_rgb(ImageOps.exif_transpose(image))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except _DAMAGE as error:
        raise UserError(
            f"{path} cannot be read as an image ({_reason(error)}); replace or remove it"
        ) from error


def read_header(path: str | os.PathLike) -> Header:
    """What a file's first bytes say of the image; its pixels are not decoded. Raises as `load_image` does."""
    try:
        with open_file(path) as file, Image.open(file) as image:
            tables = getattr(image, "quantization", None) or {}
            return Header(image.format, image.size, tuple(tuple(table) for table in tables.values()))
    except _DAMAGE as error:
        raise UserError(f"{path} cannot be read as an image ({_reason(error)})") from error


def read_sample(sample: Sample) -> Image.Image:
    """The sample's picture from its file."""
    return load_image(sample.path)


def load_batch(
    samples: Sequence[Sample], preprocessing: Preprocessing, read: Read = read_sample
) -> torch.Tensor:
    """The samples' images as one float32 tensor [N, 3, H, W], in their order."""
    import torch

    if not samples:
        return torch.empty(0, 3, *preprocessing.input_size)
    return torch.stack([preprocess(read(sample), preprocessing) for sample in samples])


def iterate_batches(
    samples: Sequence[Sample],
    preprocessing: Preprocessing,
    batch_size: int,
    *,
    workers: int = 2,
    read: Read = read_sample,
) -> Iterator[torch.Tensor]:
    """Batches [batch_size, 3, H, W] (the last may be smaller) in the samples' order.

    Threads read ahead by at most `workers` + 1 batches, so memory stays bounded; 0 workers read in place.
    Raises UserError where an image cannot be read.
    """
    if batch_size < 1 or workers < 0:
        raise UserError(f"batch_size={batch_size}, workers={workers}: give at least 1 and at least 0")
    chunks = (samples[start : start + batch_size] for start in range(0, len(samples), batch_size))
    if not workers:
        yield from (load_batch(chunk, preprocessing, read) for chunk in chunks)
        return
    with ThreadPoolExecutor(workers) as pool:
        pending = deque()
        try:
            for chunk in chunks:
                pending.append(pool.submit(load_batch, chunk, preprocessing, read))
                if len(pending) > workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def usable(
    samples: Sequence[Sample], *, on_corrupt: str = "refuse", workers: int = 2
) -> tuple[list[Sample], list[Sample]]:
    """(kept, skipped): the samples whose images decode, and those whose images do not.

    `on_corrupt` is "refuse" (a UserError names what cannot be read) or "skip" (it lands in `skipped`; a
    UserError only if nothing is left).
    """
    if on_corrupt not in ("refuse", "skip"):
        raise UserError(f"on_corrupt={on_corrupt!r} is not known; choose refuse or skip")
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        problems = list(pool.map(_problem, samples))
    kept = [sample for sample, problem in zip(samples, problems, strict=True) if problem is None]
    skipped = [sample for sample, problem in zip(samples, problems, strict=True) if problem is not None]
    if skipped and (on_corrupt == "refuse" or not kept):
        first = next(problem for problem in problems if problem is not None)
        hint = "" if not kept else "; or leave such images out with on_corrupt=skip"
        raise UserError(f"{len(skipped)} of {len(samples)} images cannot be used; the first: {first}{hint}")
    return kept, skipped


def _problem(sample: Sample) -> str | None:
    """Why the sample's image cannot be used, or None if it decodes."""
    try:
        load_image(sample.path)
    except UserError as error:
        return str(error)
    return None


def _reason(error: Exception) -> str:
    """PIL's reason in a few words, without the path that the message names already."""
    if isinstance(error, FileNotFoundError):
        return "it does not exist"
    if isinstance(error, Image.UnidentifiedImageError):
        return "no known image format"
    return " ".join((getattr(error, "strerror", None) or str(error) or type(error).__name__).split())
