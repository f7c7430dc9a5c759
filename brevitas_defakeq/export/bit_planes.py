"""Codes of any width as bit planes that a stock runtime takes apart when it loads the file.

A plane holds 1, 2 or 4 bits of every code, packed in bytes; a table turns a byte into its 8, 4 or 2 values,
and ``BitwiseOr`` joins the planes: 3 bits are a plane of 2 and one of 1, so a code takes its own width on
disk. Three levels are one byte for five codes. Constant folding leaves plain int8 weights in memory.
"""

import numpy as np

from brevitas_defakeq.quant.integer_range import TERNARY_BITS
from brevitas_defakeq.storage.packing import pack, unpack

#: Width of the codes -> (width, shift) of each plane.
PLANES: dict[float, tuple[tuple[float, int], ...]] = {
    TERNARY_BITS: ((TERNARY_BITS, 0),),
    2: ((2, 0),),
    3: ((2, 0), (1, 2)),
    4: ((4, 0),),
    5: ((4, 0), (1, 4)),
    6: ((4, 0), (2, 4)),
    7: ((4, 0), (2, 4), (1, 6)),
}
#: Codes in a byte of a plane.
CODES_IN_BYTE = {TERNARY_BITS: 5, 1: 8, 2: 4, 4: 2}


def plane_bytes(codes: np.ndarray, width: float, shift: int) -> np.ndarray:
    """One plane of uint8 codes [n], packed.

    >>> plane_bytes(np.array([5, 2, 7], dtype=np.uint8), 1, 2)  # the third bits: 1, 0, 1
    array([5], dtype=uint8)
    """
    if width == TERNARY_BITS:
        return pack(codes, width)
    return pack((codes >> shift) & (2 ** int(width) - 1), width)


def plane_table(width: float, shift: int) -> np.ndarray:
    """uint8 [bytes, codes in a byte]: what each byte of a plane adds to its codes."""
    values = 243 if width == TERNARY_BITS else 256
    count = CODES_IN_BYTE[width]
    codes = unpack(np.arange(values, dtype=np.uint8), values * count, width)
    return (codes << shift).astype(np.uint8).reshape(values, count)
