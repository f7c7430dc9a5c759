"""Image files wherever they lie: on the disk, or inside a tar shard (`shard.tar/KEY.png`), never unpacked."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from brevitas_defakeq.utils.errors import UserError

#: Tables of contents kept at a time; listings run shard by shard, so a few are enough.
_OPEN_SHARDS = 16


def open_file(path: str | os.PathLike) -> BinaryIO:
    """The file, open for reading. Raises OSError as `open` does, UserError for a broken shard."""
    shard, member = _divided(path)
    if shard is None:
        return open(path, "rb")
    offset, size = _member(shard, member)
    with open(shard, "rb") as file:
        file.seek(offset)
        return io.BytesIO(file.read(size))


def is_stored(path: str | os.PathLike) -> bool:
    """Whether the file is there."""
    shard, member = _divided(path)
    return os.path.isfile(path) if shard is None else member in _contents(*_version(shard))


def absent(folder: str, names: list[str]) -> list[str]:
    """Which of these files a folder does not hold; it is read once, which is quick on network disks too."""
    try:
        with os.scandir(folder) as entries:
            there = {entry.name for entry in entries if entry.is_file()}
    except OSError:
        there = set()
    return [name for name in names if name not in there and not is_stored(os.path.join(folder, name))]


def identity(path: str | os.PathLike) -> tuple[tuple, int]:
    """(what makes the file one, however many names and links lead to it; its size in bytes).

    Raises OSError if it is not there.
    """
    shard, member = _divided(path)
    status = os.stat(path if shard is None else shard)
    if shard is None:
        return (status.st_dev, status.st_ino), status.st_size
    return (status.st_dev, status.st_ino, member), _member(shard, member)[1]


def members(shard: str) -> Iterator[tuple[str, int, int]]:
    """(name, offset, size) of every file in a tar, read from its headers alone.

    Raises UserError for what is no uncompressed tar, or one that is cut short.
    """
    try:
        with tarfile.open(shard, "r:") as archive:
            while (entry := archive.next()) is not None:
                archive.members = []  # tarfile would keep every header
                if entry.isreg() and not entry.issparse():
                    yield entry.name, entry.offset_data, entry.size
    except (tarfile.TarError, OSError) as error:
        raise UserError(
            f"{shard} cannot be read as an uncompressed tar ({' '.join(str(error).split())}); write it again"
        ) from None


def _divided(path: str | os.PathLike) -> tuple[str | None, str]:
    """(tar, name inside it); (None, "") for a file of the disk."""
    text = Path(path).as_posix()
    end = text.lower().find(".tar/")
    while end >= 0:
        if os.path.isfile(text[: end + 4]):
            return text[: end + 4], text[end + 5 :]
        end = text.lower().find(".tar/", end + 1)
    return None, ""


def _member(shard: str, name: str) -> tuple[int, int]:
    found = _contents(*_version(shard)).get(name)
    if found is None:
        raise FileNotFoundError(2, f"no such file in {shard}", name)
    return found


def _version(shard: str) -> tuple[str, int, int]:
    """A tar's path with its time and size: a tar that was written anew is read anew."""
    status = os.stat(shard)
    return shard, status.st_mtime_ns, status.st_size


@lru_cache(_OPEN_SHARDS)
def _contents(shard: str, time: int, size: int) -> dict[str, tuple[int, int]]:
    """Name -> (offset, size) of every file in a tar."""
    return {name: (offset, length) for name, offset, length in members(shard)}
