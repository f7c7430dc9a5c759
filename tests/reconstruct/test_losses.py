"""Losses of the reconstruction: the shared error and eq. 7's regularizer, by hand."""

from dataclasses import replace

import pytest
import torch

from brevitas_defakeq.config import ReconstructionConfig
from brevitas_defakeq.reconstruct.losses import (
    annealed_beta,
    mean_over_images,
    relative_error,
    rounding_regularizer,
    variance_of,
)


def test_error_by_hand():
    output, target = torch.tensor([1.0, 3.0]), torch.tensor([0.0, 1.0])
    assert relative_error(output, target, variance=2.0) == (1 + 4) / 2 / 2
    assert variance_of(target) == pytest.approx(0.5)
    assert variance_of(torch.ones(3)) > 0, "a constant target divides by 0"


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
def test_mean_does_not_depend_on_the_batches(batch_size):
    images = torch.tensor([4, 1, 7, 2, 6])
    mean = mean_over_images(lambda part: part.double().mean(), images, batch_size)
    assert mean == pytest.approx(20 / 5)


def test_regularizer_by_hand():
    assert rounding_regularizer(torch.tensor([0.0, 1.0]), 2.0) == 0
    assert rounding_regularizer(torch.tensor([0.5]), 20.0) == 1
    assert rounding_regularizer(torch.tensor([0.75, 0.0]), 2.0) == pytest.approx((1 - 0.25) / 2**0.5)
    assert rounding_regularizer(torch.tensor([0.9]), 3.0) == pytest.approx(1 - 0.8**3)


def test_beta_falls_linearly_after_the_warm_up():
    config = ReconstructionConfig(iterations=100, warm_up=0.2, beta=(20.0, 2.0))
    assert annealed_beta(0, config) is None and annealed_beta(19, config) is None
    assert annealed_beta(20, config) == 20.0
    assert annealed_beta(60, config) == pytest.approx(11.0)
    assert annealed_beta(100, config) == pytest.approx(2.0)
    assert annealed_beta(0, replace(config, warm_up=0.0)) == 20.0
