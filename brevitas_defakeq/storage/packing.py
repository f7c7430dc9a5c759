"""Codes packed at their own width: a bit stream, or five ternary codes to a byte."""

import numpy as np

from brevitas_defakeq.quant.integer_range import TERNARY_BITS

_POWERS_OF_3 = np.array([1, 3, 9, 27, 81], dtype=np.uint8)
#: Codes handled at a time, a multiple of 8 and of 5; bounds the memory of the bit matrix.
_PIECE = 4_000_000


def packed_size(count: int, bits: float) -> int:
    """Bytes that ``count`` codes take.

    >>> packed_size(10, 3), packed_size(10, 1.6)
    (4, 2)
    """
    return -(-count // 5) if bits == TERNARY_BITS else -(-count * int(bits) // 8)


def pack(codes: np.ndarray, bits: float) -> np.ndarray:
    """uint8 codes [n], each below ``2^bits`` (3 for 1.6 bits) -> uint8 bytes, first code lowest."""
    pieces = [_pack(codes[start : start + _PIECE], bits) for start in range(0, len(codes), _PIECE)]
    return np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.uint8)


def unpack(data: np.ndarray, count: int, bits: float) -> np.ndarray:
    """The inverse of ``pack``: uint8 bytes -> ``count`` uint8 codes."""
    step = packed_size(_PIECE, bits)
    pieces = [
        _unpack(data[index * step : (index + 1) * step], min(_PIECE, count - start), bits)
        for index, start in enumerate(range(0, count, _PIECE))
    ]
    return np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.uint8)


def _pack(codes: np.ndarray, bits: float) -> np.ndarray:
    if bits == TERNARY_BITS:
        padded = np.pad(codes, (0, -len(codes) % 5)).reshape(-1, 5)
        return (padded * _POWERS_OF_3).sum(axis=1, dtype=np.uint8)
    planes = (codes[:, None] >> np.arange(int(bits), dtype=np.uint8)) & 1
    return np.packbits(planes.ravel(), bitorder="little")


def _unpack(data: np.ndarray, count: int, bits: float) -> np.ndarray:
    if bits == TERNARY_BITS:
        return ((data[:, None] // _POWERS_OF_3) % 3).astype(np.uint8).ravel()[:count]
    width = int(bits)
    planes = np.unpackbits(data, count=count * width, bitorder="little").reshape(count, width)
    return (planes << np.arange(width, dtype=np.uint8)).sum(axis=1, dtype=np.uint8)
