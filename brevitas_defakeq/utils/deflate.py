"""Deflate: what every gzip, browser and phone unpacks, written with the strategy that fits each part best.

Codes of weights have no repeats to find: there the Huffman code alone is shorter than what zlib's search for
repeats leaves. Names, graphs and tables are the other way round.
"""

import gzip
import struct
import zlib
from collections.abc import Sequence

from brevitas_defakeq.utils.errors import UserError

_STRATEGIES = (zlib.Z_HUFFMAN_ONLY, zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED)
#: Formats of a stream: with a header and a checksum, or bare.
_ZLIB, _BARE = 15, -15
#: Header of a gzip file without name and time, so equal contents are equal files.
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"


def deflated(data: bytes) -> bytes:
    """A zlib stream, with its checksum, by the strategy that makes it smallest.

    >>> inflated(deflated(b"codes"))
    b'codes'
    """
    return _smallest(data, _ZLIB)[1]


def inflated(data: bytes) -> bytes:
    """The content of one zlib stream. Raises ValueError where it is cut or damaged."""
    try:
        return zlib.decompress(data)
    except zlib.error as error:
        raise ValueError(str(error)) from None


def gzipped(parts: Sequence[bytes]) -> bytes:
    """A gzip file of the joined parts, each by the strategy that makes it smallest."""
    whole = b"".join(parts)
    body = min(_part_by_part(parts), _smallest(whole, _BARE)[1], key=len)
    return _GZIP_HEADER + body + struct.pack("<II", zlib.crc32(whole), len(whole) & 0xFFFFFFFF)


def gunzipped(data: bytes, name: object) -> bytes:
    """The content of a gzip file. Raises UserError that names it where it is cut or damaged."""
    if not data:  # to gzip, a file of no members
        raise UserError(f"{name} is cut short; copy it again")
    try:
        return gzip.decompress(data)
    except EOFError:
        raise UserError(f"{name} is cut short; copy it again") from None
    except (OSError, zlib.error, struct.error) as error:
        raise UserError(f"{name} is no intact gzip file ({error}); copy it again") from None


def _part_by_part(parts: Sequence[bytes]) -> bytes:
    """One bare stream in which every part has a strategy and Huffman codes of its own."""
    pieces = [_stream(part, _smallest(part, _BARE)[0], _BARE, zlib.Z_FULL_FLUSH) for part in parts]
    return b"".join([*pieces, _stream(b"", zlib.Z_DEFAULT_STRATEGY, _BARE, zlib.Z_FINISH)])


def _smallest(data: bytes, form: int) -> tuple[int, bytes]:
    """The strategy whose stream is the smallest, and that stream."""
    streams = {strategy: _stream(data, strategy, form, zlib.Z_FINISH) for strategy in _STRATEGIES}
    return min(streams.items(), key=lambda pair: len(pair[1]))


def _stream(data: bytes, strategy: int, form: int, end: int) -> bytes:
    writer = zlib.compressobj(9, zlib.DEFLATED, form, 9, strategy)
    return writer.compress(data) + writer.flush(end)
