"""Files on disk or inside a tar shard (`shard.tar/KEY.png`), which is never unpacked."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from brevitas_defakeq.utils.errors import UserError, one_line

#: Tables of contents kept at a time; files are read shard by shard, so a few are enough.
_OPEN_SHARDS = 16
_PIECE = 1 << 20  #: bytes hashed at a time


def open_file(path: str | os.PathLike) -> BinaryIO:
    """The file, open for reading. Raises OSError as `open` does, UserError for a broken shard."""
    shard, member = _split_path(path)
    if shard is None:
        return open(path, "rb")
    offset, size = _member(shard, member)
    with open(shard, "rb") as file:
        file.seek(offset)
        return io.BytesIO(file.read(size))


def file_sha256(path: str | os.PathLike) -> str:
    """SHA-256 (hex) of a file's bytes, read in pieces. Raises UserError if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open_file(path) as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()


def is_stored(path: str | os.PathLike) -> bool:
    """Whether the file exists."""
    shard, member = _split_path(path)
    return os.path.isfile(path) if shard is None else member in _contents(*_version(shard))


def absent(folder: str, names: list[str]) -> list[str]:
    """The names that a folder lacks. The folder is listed once, which is fast on network disks too."""
    try:
        with os.scandir(folder) as entries:
            present = {entry.name for entry in entries if entry.is_file()}
    except OSError:
        present = set()
    return [name for name in names if name not in present and not is_stored(os.path.join(folder, name))]


def identity(path: str | os.PathLike) -> tuple[tuple, int]:
    """(key, size in bytes); the key is the same for every name and link of one file.

    Raises OSError if the file does not exist.
    """
    shard, member = _split_path(path)
    status = os.stat(path if shard is None else shard)
    if shard is None:
        return (status.st_dev, status.st_ino), status.st_size
    return (status.st_dev, status.st_ino, member), _member(shard, member)[1]


def members(shard: str) -> Iterator[tuple[str, int, int]]:
    """(name, offset, size) of every file in a tar, read from its headers alone.

    Raises UserError if it is no uncompressed tar or is truncated.
    """
    try:
        with tarfile.open(shard, "r:") as archive:
            while (entry := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # tarfile would keep every header
                if entry.isreg() and not entry.issparse():
                    yield entry.name, entry.offset_data, entry.size
    except (tarfile.TarError, OSError) as error:
        raise UserError(
            f"{shard} cannot be read as an uncompressed tar ({one_line(error)}); write it again"
        ) from None


def _split_path(path: str | os.PathLike) -> tuple[str | None, str]:
    """(tar, name inside it); (None, "") for a file on disk."""
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
    """A tar's path, time and size: the key of its cached table of contents."""
    status = os.stat(shard)
    return shard, status.st_mtime_ns, status.st_size


@lru_cache(_OPEN_SHARDS)
def _contents(shard: str, time: int, size: int) -> dict[str, tuple[int, int]]:
    """Name -> (offset, size) of every file in a tar."""
    return {name: (offset, length) for name, offset, length in members(shard)}
