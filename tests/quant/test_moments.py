"""Mean and spread per channel, and the affine step that matches them, against torch on the whole tensor."""

import pytest
import torch

from brevitas_defakeq.quant.moments import (
    MAX_GAIN,
    ChannelMoments,
    along_channels,
    matching_affine,
)


def moments(output, dim):
    result = ChannelMoments()
    result.add(output, dim)
    return result


@pytest.mark.parametrize(("shape", "dim"), [((6, 4), -1), ((2, 5, 4), -1), ((3, 4, 5, 2), 1), ((3, 4, 7), 1)])
def test_streamed_moments_are_those_of_the_whole(shape, dim):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 3 + 2
    streamed = ChannelMoments()
    for part in values.split(2):
        streamed.add(part, dim)
    whole = values.movedim(dim, 0).reshape(4, -1).double()
    torch.testing.assert_close(streamed.mean(), whole.mean(1))
    torch.testing.assert_close(streamed.spread(), whole.std(1, correction=0))


def test_the_affine_step_matches_mean_and_spread():
    generator = torch.Generator().manual_seed(1)
    wanted = torch.randn(50, 3, generator=generator) * torch.tensor([1.0, 2.0, 0.5]) + 1
    actual = torch.randn(50, 3, generator=generator) * 0.9 - 2
    gain, shift = matching_affine(moments(wanted, -1), moments(actual, -1))
    matched = gain * actual + shift
    torch.testing.assert_close(matched.mean(0), wanted.mean(0), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(matched.std(0), wanted.std(0), atol=1e-5, rtol=1e-5)


def test_by_hand_with_dead_and_extreme_channels():
    #             matched      dead now     dead before  far too small
    wanted = torch.tensor([[0.0, 5.0, 3.0, 0.0], [4.0, 7.0, 3.0, 100.0]])  # means 2 6 3 50, spreads 2 1 0 50
    actual = torch.tensor([[1.0, 2.0, 0.0, 0.0], [2.0, 2.0, 8.0, 2.0]])  # means 1.5 2 4 1, spreads .5 0 4 1
    gain, shift = matching_affine(moments(wanted, -1), moments(actual, -1))
    assert gain.tolist() == [4.0, 1.0, 1.0, MAX_GAIN]
    assert shift.tolist() == [2 - 4 * 1.5, 4.0, -1.0, 50 - MAX_GAIN]


def test_a_vector_is_laid_along_the_channels():
    vector = torch.arange(3.0)
    assert along_channels(vector, torch.zeros(2, 3, 4, 4), 1).shape == (1, 3, 1, 1)
    assert along_channels(vector, torch.zeros(2, 5, 3), -1).shape == (1, 1, 3)
