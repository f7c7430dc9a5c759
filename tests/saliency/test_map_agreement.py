"""The agreement of maps: Pearson's correlation, and what it says of constant maps."""

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr

from brevitas_defakeq.saliency import agreement
from brevitas_defakeq.utils.errors import UserError

MAPS = torch.randn(4, 7, 5, generator=torch.Generator().manual_seed(0))
OTHERS = torch.randn(4, 7, 5, generator=torch.Generator().manual_seed(1))


def test_worked_by_hand():
    first = torch.tensor([[[0.0, 0.0], [0.0, 1.0]]])
    second = torch.tensor([[[0.0, 0.0], [1.0, 1.0]]])
    # covariance 1/2, sums of squares 3/4 and 1
    torch.testing.assert_close(agreement(first, second), torch.tensor([0.5 / 0.75**0.5]))


def test_equals_scipy():
    pairs = zip(MAPS.double().flatten(1), OTHERS.double().flatten(1), strict=True)
    expected = [pearsonr(first.numpy(), second.numpy()).statistic for first, second in pairs]
    np.testing.assert_allclose(agreement(MAPS, OTHERS), expected, atol=1e-6)


def test_equal_maps_agree_whatever_their_unit():
    ones = torch.ones(4)
    torch.testing.assert_close(agreement(MAPS, MAPS), ones)
    torch.testing.assert_close(agreement(MAPS, 1e-12 * MAPS.double()), ones)
    torch.testing.assert_close(agreement(MAPS, 3 * MAPS + 5), ones)
    torch.testing.assert_close(agreement(MAPS, -MAPS), -ones)


def test_constant_maps():
    constant = torch.full((4, 7, 5), 0.1)
    assert agreement(constant, 3 * constant).tolist() == [1.0] * 4
    assert agreement(MAPS, constant).tolist() == agreement(constant, MAPS).tolist() == [0.0] * 4


def test_other_sizes_are_refused():
    with pytest.raises(UserError, match=r"shape \[4, 7, 5\] and \[4, 5, 5\] cannot be compared"):
        agreement(MAPS, MAPS[:, :5])
