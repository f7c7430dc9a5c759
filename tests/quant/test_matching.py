"""What outputs are matched to: regression by hand, against ``lstsq``, and beside mean and spread."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from brevitas_defakeq.quant.matching import PairedOutputs, regression_affine
from brevitas_defakeq.quant.moments import MAX_GAIN, ChannelMoments


def test_regression_by_hand():
    #        exact: 2 x + 1   half the spread is noise   dead now       reversed      far too small
    wanted = torch.tensor(
        [[1.0, 0.0, 5.0, 2.0, 0.0], [3.0, 2.0, 7.0, 1.0, 50.0], [5.0, 1.0, 9.0, 0.0, 100.0]]
    )
    actual = torch.tensor([[0.0, 0.0, 2.0, 0.0, 0.0], [1.0, 1.0, 2.0, 1.0, 1.0], [2.0, 2.0, 2.0, 2.0, 2.0]])
    gain, shift = regression_affine(wanted, actual, -1)
    assert gain.tolist() == [2.0, 0.5, 1.0, 1 / MAX_GAIN, MAX_GAIN]
    assert shift.tolist() == [1.0, 0.5, 5.0, 1 - 1 / MAX_GAIN, 50 - MAX_GAIN]


@pytest.mark.parametrize(("shape", "dim"), [((6, 4), -1), ((2, 5, 4), -1), ((3, 4, 5, 2), 1), ((3, 4, 7), 1)])
def test_regression_is_lstsq_channel_by_channel(shape, dim):
    generator = torch.Generator().manual_seed(0)
    actual = torch.randn(shape, generator=generator)
    wanted = 1.5 * actual - 2 + 0.3 * torch.randn(shape, generator=generator)
    gain, shift = regression_affine(wanted, actual, dim)
    for channel in range(4):
        x, y = (tensor.movedim(dim, 0)[channel].flatten().double().numpy() for tensor in (actual, wanted))
        expected = np.linalg.lstsq(np.stack([x, np.ones_like(x)], axis=1), y, rcond=None)[0]
        assert [float(gain[channel]), float(shift[channel])] == pytest.approx(expected, rel=1e-5)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**31), correlation=st.floats(-1, 1), size=st.floats(0.01, 100),
    offset=st.floats(-10, 10),
)  # fmt: skip
def test_regression_never_exceeds_the_error_of_mean_and_spread(seed, correlation, size, offset):
    generator = torch.Generator().manual_seed(seed)
    wanted = torch.randn(12, 3, generator=generator) * torch.tensor([1.0, 1e-5, 2.0])
    noise = torch.randn(12, 3, generator=generator) * torch.tensor([1.0, 1.0, 1e-5])
    actual = (correlation * wanted + (1 - abs(correlation)) * noise) * size + offset
    errors = []
    for target in (PairedOutputs(), ChannelMoments()):
        target.add(wanted, -1)
        gain, shift = target.affine(actual, -1)
        errors.append((gain * actual.double() + shift - wanted).square().sum(0))
    assert (errors[0] <= errors[1] * (1 + 1e-4) + 1e-9).all(), errors


def test_each_call_is_regressed_on_its_own_pair_as_often_as_asked():
    target, actual = PairedOutputs(), torch.tensor([[0.0], [1.0], [2.0]])
    output = 2 * actual
    target.add(output, -1)
    target.add(3 * actual, -1)
    output.zero_()  # as the network may do behind the layer
    assert [float(target.affine(actual, -1)[0]) for _ in range(4)] == [2.0, 3.0, 2.0, 3.0]
