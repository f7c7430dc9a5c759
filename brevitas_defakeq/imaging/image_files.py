"""Reading image files, and checking that they can be read."""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from brevitas_defakeq.imaging.image_formats import register_plugins
from brevitas_defakeq.imaging.pixel_modes import upright_rgb
from brevitas_defakeq.imaging.sample import Sample
from brevitas_defakeq.imaging.stored_files import open_file
from brevitas_defakeq.utils.errors import UserError

if TYPE_CHECKING:
    import os


_LOG = logging.getLogger(__name__)
#: Reads a sample's image as 8-bit RGB.
Read = Callable[[Sample], Image.Image]
#: What PIL raises on damaged files, depending on the format and on where the damage is.
_DAMAGE: tuple[type[Exception], ...] = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError, struct.error,
    zlib.error, Image.DecompressionBombError,
)  # fmt: skip


@dataclass(frozen=True)
class Header:
    """Header of an image file.

    Attributes:
        format: as PIL names it, "PNG".
        size: (width, height) in pixels.
        tables: a JPEG's quantization tables, else empty.
    """

    format: str
    size: tuple[int, int]
    tables: tuple[tuple[int, ...], ...]


def load_image(path: str | os.PathLike) -> Image.Image:
    """The image as 8-bit RGB, rotated upright by its EXIF orientation.

    Raises UserError naming the file if it is missing, damaged, truncated, no image, or holds grey values on a
    scale that cannot be known.
    """
    register_plugins()
    try:
        with open_file(path) as file, Image.open(file) as image:
            return upright_rgb(image)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except _DAMAGE as error:
        raise UserError(
            f"{path} cannot be read as an image ({_reason(error)}); replace or remove it"
        ) from error


def read_header(path: str | os.PathLike) -> Header:
    """The image's header, without decoding its pixels. Raises as `load_image` does."""
    register_plugins()
    try:
        with open_file(path) as file, Image.open(file) as image:
            tables = getattr(image, "quantization", None) or {}
            return Header(image.format or "", image.size, tuple(tuple(table) for table in tables.values()))
    except _DAMAGE as error:
        raise UserError(f"{path} cannot be read as an image ({_reason(error)})") from error


def read_sample(sample: Sample) -> Image.Image:
    """The sample's image, from its file."""
    return load_image(sample.path)


def usable(samples: Sequence[Sample], *, on_corrupt: str = "refuse") -> tuple[list[Sample], list[Sample]]:
    """Splits samples by whether their images decode.

    Args:
        samples: the samples to check; every image is decoded once.
        on_corrupt: "refuse" raises UserError naming the first unreadable image; "skip" returns such samples
            as `skipped` and raises only if none is left.

    Returns:
        (kept, skipped), both in the samples' order.
    """
    if on_corrupt not in ("refuse", "skip"):
        raise UserError(f"on_corrupt={on_corrupt!r} is not known; choose refuse or skip")
    with ThreadPoolExecutor(2) as pool:
        problems = list(pool.map(_problem, samples))
    kept = [sample for sample, problem in zip(samples, problems, strict=True) if problem is None]
    skipped = [sample for sample, problem in zip(samples, problems, strict=True) if problem is not None]
    if skipped and (on_corrupt == "refuse" or not kept):
        first = next(problem for problem in problems if problem is not None)
        hint = "" if not kept else "; or leave such images out with on_corrupt=skip"
        raise UserError(f"{len(skipped)} of {len(samples)} images cannot be used; the first: {first}{hint}")
    return kept, skipped


def without_broken(samples: Sequence[Sample]) -> Sequence[Sample]:
    """The samples whose images decode; says how many do not. Raises UserError if none does."""
    kept, skipped = usable(samples, on_corrupt="skip")
    if skipped:
        _LOG.warning("%d of %d images left out, the first: %s", len(skipped), len(samples), skipped[0].path)
    return kept if skipped else samples


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
