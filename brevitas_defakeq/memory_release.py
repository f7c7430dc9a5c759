"""Returning freed memory to the system."""

import ctypes
from collections.abc import Callable
from functools import cache


def give_back() -> None:
    """Return freed memory to the system between stages; nothing where the C library has no such call.

    glibc keeps freed blocks of up to 32 MB, the size of a large detector's layers: without this, a ViT-L
    whose five models take 6 GB ends at 12 GB.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # not glibc
        return None
