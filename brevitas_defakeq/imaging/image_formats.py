"""Which image files the installed Pillow reads, by suffix."""

from __future__ import annotations

import contextlib
import importlib
from functools import cache

from PIL import Image, ImageFile

#: Formats that Pillow only recognizes (MPEG is a video), or that run another program on the file (EPS).
_NOT_DECODED = {"MPEG", "EPS"}


@cache
def image_suffixes() -> tuple[str, ...]:
    """Suffixes in lower case, with the dot: ".jpg", ".webp"; ".heic" where pillow-heif is installed.

    Of an animation (.gif, .apng, .webp) the first frame is read.

    >>> {".jpg", ".jfif", ".png", ".gif", ".tiff"} <= set(image_suffixes())
    True
    """
    register_plugins()
    return tuple(sorted(suffix for suffix, name in Image.registered_extensions().items() if _decodes(name)))


@cache
def register_plugins() -> None:
    """Let Pillow open HEIF where the package pillow-heif is installed."""
    with contextlib.suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()


def _decodes(name: str) -> bool:
    """Whether Pillow opens and decodes the format of that name; JPEG's opens MPO."""
    opener = Image.OPEN.get("JPEG" if name == "MPO" else name)
    if opener is None or name in _NOT_DECODED:
        return False
    factory = opener[0]
    return not (isinstance(factory, type) and issubclass(factory, ImageFile.StubImageFile))
