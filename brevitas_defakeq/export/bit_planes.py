"""Codes of any width as bit planes that a stock runtime takes apart when it loads the file.

A plane holds 1, 2 or 4 bits of every code, packed in bytes; a table turns a byte into its 8, 4 or 2 values,
and ``BitwiseOr`` joins the planes: 3 bits are a plane of 2 and one of 1, so a code takes its own width on
disk. A fractional width is one plane of bytes that hold several codes each. Constant folding leaves plain
int8 weights in memory.
"""

import numpy as np

from brevitas_defakeq.quant.widths import fractional_width
from brevitas_defakeq.storage.packing import pack, unpack


def plane_bytes(codes: np.ndarray, width: float, shift: int) -> np.ndarray:
    """One plane of uint8 codes [n], packed.

    >>> plane_bytes(np.array([5, 2, 7], dtype=np.uint8), 1, 2)  # the third bits: 1, 0, 1
    array([5], dtype=uint8)
    """
    if fractional_width(width):
        return pack(codes, width)
    return pack((codes >> shift) & (2 ** int(width) - 1), width)


def plane_table(width: float, shift: int) -> np.ndarray:
    """uint8 [bytes, codes in a byte]: what each byte of a plane adds to its codes."""
    own = fractional_width(width)
    count = own.codes_per_group if own else 8 // int(width)
    values = own.levels**count if own else 256
    codes = unpack(np.arange(values, dtype=np.uint8), values * count, width)
    return (codes << shift).astype(np.uint8).reshape(values, count)
