"""Signs with magnitudes of rank 1, against values worked by hand."""

import pytest
import torch
from torch import nn

from benchmarks.compression.sign_layer import SignLayer, rank_one, sign_terms
from benchmarks.compression.sign_rank_one import MOST_TERMS, sign_rank_one, term_gains


def test_one_term_is_the_closed_form():
    """|W| = [[2, 1], [1, 2]] has singular values 3 and 1, the first pair (1, 1) / sqrt 2 twice: all 1.5."""
    weight = torch.tensor([[2.0, -1.0], [-1.0, -2.0]])
    layer = nn.Linear(2, 2)
    layer.weight.data = weight
    signed = SignLayer(layer, torch.tensor([1, 1], dtype=torch.uint8))
    assert torch.allclose(signed.weight, torch.tensor([[1.5, -1.5], [-1.5, -1.5]]), atol=1e-5)
    inputs = torch.tensor([[1.0, 2.0]])
    assert torch.allclose(signed(inputs), torch.tensor([[-1.5, -4.5]]) + layer.bias, atol=1e-5)


def test_a_second_term_by_hand():
    """The rest is [[.5, .5], [.5, -.5]], whose magnitude has rank 1: nothing is left."""
    (_, _, _), (rest, rows, columns) = sign_terms(torch.tensor([[2.0, -1.0], [-1.0, -2.0]]), 2)
    assert torch.allclose(rest, torch.tensor([[0.5, 0.5], [0.5, -0.5]]), atol=1e-5)
    assert torch.allclose(torch.outer(rows, columns), torch.full((2, 2), 0.5), atol=1e-5)


def test_the_magnitudes_are_the_first_singular_pair():
    magnitudes = torch.rand(7, 5, generator=torch.Generator().manual_seed(0))
    left, sizes, right = torch.linalg.svd(magnitudes)
    rows, columns = rank_one(magnitudes)
    assert torch.allclose(torch.outer(rows, columns), sizes[0] * torch.outer(left[:, 0], right[0]), atol=1e-5)
    assert (rows > 0).all() and (columns > 0).all()


def test_no_magnitude_is_left_of_zeros():
    rows, columns = rank_one(torch.zeros(3, 2))
    assert not rows.any() and not columns.any()


def test_channels_have_as_many_terms_as_they_are_given():
    layer = nn.Conv2d(4, 6, 3, padding=1)
    all_terms = SignLayer(layer, torch.full((6,), 3, dtype=torch.uint8))
    mixed = SignLayer(layer, torch.tensor([1, 2, 3, 3, 2, 1], dtype=torch.uint8))
    one = SignLayer(layer, torch.ones(6, dtype=torch.uint8))
    assert torch.equal(mixed.weight[2:4], all_terms.weight[2:4])
    assert torch.equal(mixed.weight[[0, 5]], one.weight[[0, 5]])
    assert not torch.equal(mixed.weight[1], one.weight[1])


def test_signs_learn_straight_through():
    layer = SignLayer(nn.Linear(3, 2), torch.ones(2, dtype=torch.uint8))
    layer(torch.tensor([[1.0, 2.0, 3.0]])).sum().backward()
    wanted = torch.outer(layer.rows[0], layer.columns[0] * torch.tensor([1.0, 2.0, 3.0]))
    assert torch.allclose(layer.latent.grad[0], wanted)


def test_gains_are_the_fall_of_the_output_error():
    """With inputs of second moment diag(energy^2) the squared output error is known for each channel."""
    weight = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    energy = torch.rand(1, 6, generator=torch.Generator().manual_seed(2)) + 0.5
    gains = term_gains(weight, energy, 3)
    layer = nn.Linear(6, 4)
    layer.weight.data = weight
    errors = [(weight.square() * energy.square()).sum(1)]
    for count in (1, 2, 3):
        made = SignLayer(layer, torch.full((4,), count, dtype=torch.uint8)).weight
        errors.append(((weight - made).square() * energy.square()).sum(1))
    assert torch.allclose(gains.float(), -torch.stack(errors).diff(dim=0), atol=1e-4)


def test_all_terms_come_near_the_weight_and_none_leaves_one(jobs):
    job = jobs("tiny")
    removal = sign_rank_one(job)
    assert removal.count == (MOST_TERMS - 1) * sum(layer.weight_shape[0] for layer in job.plan.layers)
    everything = removal.without(torch.arange(removal.count)).model
    layers = [module for module in everything.modules() if isinstance(module, SignLayer)]
    assert len(layers) > 3 and all((layer.terms == 1).all() for layer in layers)
    few = removal.without(torch.arange(removal.count // 2)).model
    wanted = job.reference(job.images)
    errors = [(model(job.images) - wanted).square().mean().item() for model in (everything, few)]
    assert errors[1] < 0.2 * errors[0]


@pytest.mark.parametrize("kind", [nn.Linear(5, 4, bias=False), nn.Conv2d(4, 4, 3, groups=4, bias=False)])
def test_layers_without_a_bias_and_depthwise_ones(kind):
    layer = SignLayer(kind, torch.full((4,), 9, dtype=torch.uint8))
    inputs = torch.randn(2, 5) if isinstance(kind, nn.Linear) else torch.randn(2, 4, 5, 5)
    assert torch.allclose(layer(inputs), kind(inputs), atol=0.05)
