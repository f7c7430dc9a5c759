"""Codes as bit planes, taken apart by the very tables that the file holds."""

import numpy as np
import pytest

from brevitas_defakeq.export.bit_planes import plane_bytes, plane_table
from brevitas_defakeq.quant.widths import width_of


@pytest.mark.parametrize("bits", [1.6, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("count", [40, 4000])
def test_the_tables_give_the_codes_back_from_their_own_width(bits, count):
    levels = 3 if bits == 1.6 else 2 ** int(bits)
    codes = np.random.default_rng(0).integers(0, levels, count).astype(np.uint8)
    stored = [
        (plane_bytes(codes, width, shift), plane_table(width, shift))
        for width, shift in width_of(bits).planes
    ]
    joined = np.zeros(count, dtype=np.uint8)
    for data, table in stored:
        joined |= table[data].ravel()
    assert np.array_equal(joined, codes)
    assert sum(data.size for data, _ in stored) == pytest.approx(count * bits / 8)
