"""Truncated SVD, against layers that it must equal and errors computed another way."""

import pytest
import torch
from torch import nn

from benchmarks.compression.layer_statistics import output_sensitivities, second_moments
from benchmarks.compression.truncated_svd import ThinLayers, thin_layers, truncated_svd, weighted_factors
from brevitas_defakeq.nn.static_padding import with_static_padding

LAYERS = [
    nn.Linear(6, 9),
    nn.Linear(9, 6, bias=False),
    nn.Conv2d(4, 7, 1),
    nn.Conv2d(3, 5, 3, stride=2, padding=1, padding_mode="reflect"),
    with_static_padding(nn.Conv2d(3, 5, 3, stride=2), (0, 1, 1, 0)),
]


def inputs_of(layer, count=40):
    generator = torch.Generator().manual_seed(0)
    if isinstance(layer, nn.Linear):
        return torch.randn(count, 3, layer.in_features, generator=generator)
    return torch.randn(count, layer.in_channels, 7, 7, generator=generator)


def moment_of(layer, inputs):
    return second_moments(layer, {"": layer}, [inputs[:15], inputs[15:]])[""]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_at_full_rank_it_equals_the_layer(layer):
    inputs = inputs_of(layer)
    factors = weighted_factors(layer.weight.flatten(1), moment_of(layer, inputs))
    thin = thin_layers(layer, factors, len(factors.energies))
    assert torch.allclose(thin(inputs), layer(inputs), atol=1e-4)
    assert thin.weight.shape[0] == layer.weight.shape[0]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_the_error_is_the_energy_of_what_was_dropped_and_no_product_has_less(layer):
    """The squared error summed over an output, mean over images, is the sum of the dropped squares."""
    inputs = inputs_of(layer)
    factors = weighted_factors(layer.weight.flatten(1), moment_of(layer, inputs))
    thin = thin_layers(layer, factors, 2)
    error = (thin(inputs) - layer(inputs)).square().sum() / len(inputs)
    assert error.item() == pytest.approx(float(factors.energies[2:].sum()), rel=1e-3)
    left, sizes, right = torch.linalg.svd(layer.weight.detach().flatten(1), full_matrices=False)
    plain = (left[:, :2] * sizes[:2]) @ right[:2]
    unweighted = thin_layers(layer, factors, 2)
    unweighted[0].weight.data = right[:2].reshape(unweighted[0].weight.shape)
    unweighted[1].weight.data = (left[:, :2] * sizes[:2]).reshape(unweighted[1].weight.shape)
    assert torch.linalg.matrix_rank(plain) == 2
    assert error < (unweighted(inputs) - layer(inputs)).square().sum() / len(inputs)


def test_directions_that_no_input_has_cost_nothing():
    layer = nn.Linear(8, 8)
    inputs = torch.randn(100, 3) @ torch.randn(3, 8)
    factors = weighted_factors(layer.weight, moment_of(layer, inputs))
    assert torch.allclose(thin_layers(layer, factors, 3)(inputs), layer(inputs), atol=1e-2)


def test_sensitivity_is_the_mean_square_of_the_gradient():
    """For z = w . (A x) the gradient at A's output is w for every image."""
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 1))
    found = output_sensitivities(model, {"0": model[0]}, torch.randn(10, 4), lambda z: z[:, 0], 4)
    assert found["0"] == pytest.approx(model[1].weight.square().mean().item(), rel=1e-5)


def test_it_takes_the_least_harmful_components_first(jobs):
    job = jobs("tiny")
    removal = truncated_svd(job)
    wanted = job.reference(job.images)
    sizes = [0, removal.count // 4, removal.count // 2, removal.count]
    made = [removal.without(torch.arange(size)).model for size in sizes]
    errors = [(model(job.images) - wanted).square().mean().item() for model in made]
    assert errors[0] == 0 and errors == sorted(errors)
    reversed_order = removal.without(torch.arange(removal.count - sizes[2], removal.count)).model
    assert (reversed_order(job.images) - wanted).square().mean().item() > 3 * errors[2]
    assert any(isinstance(module, ThinLayers) for module in made[2].modules())
