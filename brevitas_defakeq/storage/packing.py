"""Codes packed at their own width: a bit stream, or several codes of a fractional width to a byte.

For an entropy coder of bytes they are laid out at ``layout_bits`` instead, whole codes in every byte: 3 bits
as a bit stream put every code in three places, and deflate found none of their frequencies (2.96 bits a code
of 2.81 bits of entropy; two codes to a byte, 2.83).
"""

import numpy as np

from brevitas_defakeq.quant.widths import Width, fractional_width, width_of

#: Codes handled at a time, about; bounds the memory of the bit matrix.
_PIECE = 4_000_000


def packed_size(count: int, bits: float) -> int:
    """Bytes that ``count`` codes take.

    >>> packed_size(10, 3), packed_size(10, 1.6)
    (4, 2)
    """
    width = fractional_width(bits)
    return -(-count // width.codes_per_group) if width else -(-count * int(bits) // 8)


def layout_bits(bits: float) -> float:
    """The width that codes are packed at where the bytes are entropy-coded: no code crosses two bytes.

    >>> layout_bits(3), layout_bits(6), layout_bits(1.6)
    (4, 8, 1.6)
    """
    return bits if fractional_width(bits) else next(whole for whole in (1, 2, 4, 8) if bits <= whole)


def centred(codes: np.ndarray, zero_points: np.ndarray, bits: float) -> np.ndarray:
    """Codes [..., C_in] less their zero points [..., 1], modulo the number of levels, uint8.

    Most weights are close to zero: so the commonest code is 0 in every channel.
    """
    wide = codes.astype(np.int16) - zero_points.astype(np.int16)
    return (wide % width_of(bits).levels).astype(np.uint8)


def off_centre(values: np.ndarray, zero_points: np.ndarray, bits: float) -> np.ndarray:
    """The inverse of ``centred``: the codes, uint8."""
    return centred(values, -zero_points.astype(np.int16), bits)


def pack(codes: np.ndarray, bits: float) -> np.ndarray:
    """uint8 codes [n], each below the width's number of levels, -> uint8 bytes, first code lowest."""
    piece = _piece(bits)
    pieces = [_pack(codes[start : start + piece], bits) for start in range(0, len(codes), piece)]
    return np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.uint8)


def unpack(data: np.ndarray, count: int, bits: float) -> np.ndarray:
    """The inverse of ``pack``: uint8 bytes -> ``count`` uint8 codes."""
    piece = _piece(bits)
    step = packed_size(piece, bits)
    pieces = [
        _unpack(data[index * step : (index + 1) * step], min(piece, count - start), bits)
        for index, start in enumerate(range(0, count, piece))
    ]
    return np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.uint8)


def _pack(codes: np.ndarray, bits: float) -> np.ndarray:
    if width := fractional_width(bits):
        padded = np.pad(codes, (0, -len(codes) % width.codes_per_group)).reshape(-1, width.codes_per_group)
        return (padded * _powers(width)).sum(axis=1, dtype=np.uint8)
    planes = (codes[:, None] >> np.arange(int(bits), dtype=np.uint8)) & 1
    return np.packbits(planes.ravel(), bitorder="little")


def _unpack(data: np.ndarray, count: int, bits: float) -> np.ndarray:
    if width := fractional_width(bits):
        return ((data[:, None] // _powers(width)) % width.levels).astype(np.uint8).ravel()[:count]
    whole = int(bits)
    planes = np.unpackbits(data, count=count * whole, bitorder="little").reshape(count, whole)
    return (planes << np.arange(whole, dtype=np.uint8)).sum(axis=1, dtype=np.uint8)


def _powers(width: Width) -> np.ndarray:
    """What each digit of a byte counts, uint8 [codes_per_byte]."""
    return (width.levels ** np.arange(width.codes_per_group)).astype(np.uint8)


def _piece(bits: float) -> int:
    """Codes of a piece, so many that it fills whole bytes."""
    width = fractional_width(bits)
    group = width.codes_per_group if width else 8
    return _PIECE // group * group
