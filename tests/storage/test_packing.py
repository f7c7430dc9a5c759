"""Packed codes come back, at the size that their width means, bit by bit as worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brevitas_defakeq.storage import packing
from brevitas_defakeq.storage.packing import centred, layout_bits, off_centre, pack, packed_size, unpack
from brevitas_defakeq.utils.deflate import deflated, inflated
from brevitas_defakeq.utils.errors import UserError

WIDTHS = [1, 1.6, 2, 3, 4, 5, 6, 7, 8]


def levels(bits):
    return 3 if bits == 1.6 else 2**bits


@st.composite
def streams(draw):
    bits = draw(st.sampled_from(WIDTHS))
    return bits, draw(st.lists(st.integers(0, levels(bits) - 1), max_size=60))


@given(streams())
def test_round_trip_and_size(stream):
    bits, codes = stream
    data = pack(np.array(codes, dtype=np.uint8), bits)
    assert data.dtype == np.uint8
    size = math.ceil(len(codes) / 5) if bits == 1.6 else math.ceil(len(codes) * bits / 8)
    assert len(data) == packed_size(len(codes), bits) == size
    again = unpack(data, len(codes), bits)
    assert again.dtype == np.uint8
    assert again.tolist() == codes


def test_a_fractional_width_that_is_not_registered():
    with pytest.raises(UserError, match="2.66667 bits is not a known width"):
        unpack(np.zeros(4, np.uint8), 10, 8 / 3)


@given(streams(), st.sampled_from([40, 80]))
def test_pieces_make_no_difference(stream, piece):
    bits, codes = stream
    codes = np.array(codes * 5, dtype=np.uint8)
    whole, before = pack(codes, bits), packing._PIECE
    try:
        packing._PIECE = piece
        assert pack(codes, bits).tolist() == whole.tolist()
        assert unpack(whole, len(codes), bits).tolist() == codes.tolist()
    finally:
        packing._PIECE = before


@pytest.mark.parametrize(
    ("codes", "bits", "expected"),
    [
        ([1, 2, 3], 3, [0b11_010_001, 0b0]),  # 3 = 011: its top bit is the next byte's lowest
        ([0xF, 0x2, 0x7], 4, [0x2F, 0x07]),
        ([1, 0, 1, 1, 0, 0, 0, 0, 1], 1, [0b00001101, 1]),
        ([2, 1, 0, 2, 1, 2], 1.6, [2 + 3 + 0 + 54 + 81, 2]),
        ([7, 200], 8, [7, 200]),
    ],
)
def test_by_hand(codes, bits, expected):
    assert pack(np.array(codes, dtype=np.uint8), bits).tolist() == expected


@pytest.mark.parametrize("bits", WIDTHS)
def test_pieces_fill_whole_bytes(bits):
    assert packed_size(packing._piece(bits), bits) * (5 if bits == 1.6 else 8 / bits) == packing._piece(bits)


@st.composite
def rows_of_codes(draw):
    """A width, codes [rows, columns] and a zero point for each row; no row and no column among them."""
    bits = draw(st.sampled_from(WIDTHS[1:]))
    codes = st.integers(0, levels(bits) - 1)
    columns = draw(st.integers(0, 13))
    rows = draw(st.lists(st.lists(codes, min_size=columns, max_size=columns), max_size=5))
    zeros = draw(st.lists(codes, min_size=len(rows), max_size=len(rows)))
    shape = len(rows), columns
    return bits, np.array(rows, np.uint8).reshape(shape), np.array(zeros, np.uint8).reshape(-1, 1)


@given(rows_of_codes())
def test_codes_less_their_zero_points_come_back_from_whole_bytes(drawn):
    bits, codes, zeros = drawn
    values, width = centred(codes, zeros, bits), layout_bits(bits)
    assert values.dtype == np.uint8 and (values < levels(bits)).all()
    assert not values[codes == zeros].any()
    data = inflated(deflated(pack(values.ravel(), width).tobytes()))
    assert len(data) == packed_size(codes.size, width)
    again = unpack(np.frombuffer(data, np.uint8), codes.size, width).reshape(codes.shape)
    assert np.array_equal(off_centre(again, zeros, bits), codes)
