"""Memory that was freed, given back to the system."""

import ctypes
from collections.abc import Callable
from functools import cache


def give_back() -> None:
    """Return freed memory to the system between stages; nothing where the C library has no such call.

    glibc keeps freed blocks of up to 32 MB, the size of a large detector's layers: a ViT-L, whose five forms
    are 6 GB, ends at 12 without this.
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
