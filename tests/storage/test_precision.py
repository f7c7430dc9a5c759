"""Half precision with an exponent, and 8-bit columns: error bounds for any size of values."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from brevitas_defakeq.storage.precision import column_codes, column_scale, from_half, to_half

FLOATS = st.floats(-1, 1, width=32)


@given(arrays(np.float32, st.integers(1, 20), elements=FLOATS), st.integers(-120, 120))
def test_eleven_bits_are_kept_at_any_magnitude(mantissas, power):
    values = torch.from_numpy(mantissas * np.float32(2.0**power))
    half, exponent = to_half(values)
    assert half.dtype == torch.float16
    assert torch.isfinite(half).all()
    assert -128 <= exponent <= 127, "it is stored as int8"
    again = from_half(half, exponent)
    largest = float(values.abs().max())
    # Relative 2^-11 for normal halves; those far below the largest value keep an absolute error.
    bound = np.maximum(values.abs().double().numpy() * 2.0**-11, largest * 2.0**-37)
    error = (again.double() - values.double()).abs().numpy()
    assert (error <= bound + 2.0**-149).all()


@pytest.mark.parametrize("values", [[0.0, 0.0], [1e-40], [1e-45, -1e-42], [3e38, -1e38]])
def test_extremes(values):
    half, exponent = to_half(torch.tensor(values))
    assert -128 <= exponent <= 127
    again = from_half(half, exponent)
    assert torch.isfinite(again).all()
    torch.testing.assert_close(again, torch.tensor(values), rtol=1e-3, atol=1e-39)


def test_stored_values_are_kept_exactly():
    values = from_half(*to_half(torch.randn(100, generator=torch.Generator().manual_seed(0))))
    assert torch.equal(from_half(*to_half(values)), values)


def test_small_scales_keep_their_bits():
    """Weight scales near 1e-7 would be subnormal in plain half precision."""
    values = torch.tensor([1.2345e-7, 2.3456e-7])
    torch.testing.assert_close(from_half(*to_half(values)), values, rtol=2**-11, atol=0)
    assert not torch.allclose(values.half().float(), values, rtol=2**-11, atol=0)


def test_no_values():
    half, exponent = to_half(torch.zeros(0))
    assert half.numel() == 0 and exponent == 0


@given(
    arrays(
        np.float32, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=st.floats(-100, 100, width=32)
    )
)
def test_columns_are_within_half_a_step(table):
    table = torch.from_numpy(table)
    scale = column_scale(table)
    codes = column_codes(table, scale)
    assert codes.dtype == torch.int8 and codes.min() >= -127
    assert ((codes.float() * scale - table).abs() <= scale * 0.5001).all()


def test_columns_by_hand():
    table = torch.tensor([[[1.27, -254.0], [-0.5, 2.0]]])  # [1, 2, 2], as position embeddings are
    scale = column_scale(table)
    torch.testing.assert_close(scale, torch.tensor([0.01, 2.0]))
    assert column_codes(table, scale).tolist() == [[[127, -127], [-50, 1]]]
