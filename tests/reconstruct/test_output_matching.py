"""Mean and spread of every layer's output, matched to the float model and folded away."""

import pytest
import torch

from brevitas_defakeq.quant.coded_weight import read_codes
from brevitas_defakeq.reconstruct.output_matching import fold_affine_


@torch.no_grad()
def layer_statistics(model, names, images):
    """Mean and standard deviation per channel of every layer's output, {name: [2, C]}."""
    observed, handles = {}, []
    for name in names:
        layer = model.get_submodule(name)

        def note(layer, _, output, name=name):
            rows = output.movedim(1, -1) if layer.weight.dim() == 4 else output
            rows = rows.reshape(-1, rows.shape[-1])
            observed[name] = torch.stack([rows.mean(dim=0), rows.std(dim=0, correction=0)])

        handles.append(layer.register_forward_hook(note))
    model(images)
    for handle in handles:
        handle.remove()
    return observed


def deviation(found, wanted):
    """Largest difference of mean and of spread, in units of the wanted spread."""
    return float(((found - wanted).abs() / wanted[1].clamp_min(1e-6)).max())


@pytest.mark.parametrize("bits", [2, 3])
def test_mean_and_spread_agree_on_the_matching_images(begun, bits):
    """Layer by layer in data-flow order, so every layer sees inputs that are matched already."""
    settings = {"activation_bits": None, "reconstruction__learned_rounding": False}
    job, model = begun(bits, **settings)
    names = [layer.name for layer in job.plan.layers]
    matching = job.images[job.train]
    wanted = layer_statistics(job.reference, names, matching)
    before = layer_statistics(model, names, matching)
    job.reconstruct_(model)
    after = layer_statistics(model, names, matching)
    worst = {name: deviation(before[name], wanted[name]) for name in names}
    assert max(worst.values()) > 0.3, "nothing to match: a poor test"
    for name in names:
        assert deviation(after[name], wanted[name]) < 0.05, name


def test_matching_costs_no_parameter(begun):
    job, model = begun(reconstruction__learned_rounding=False)
    shapes = {name: tensor.shape for name, tensor in model.named_parameters()}
    codes = {layer.name: read_codes(model.get_submodule(layer.name))[0] for layer in job.plan.layers}
    job.reconstruct_(model)
    assert {name: tensor.shape for name, tensor in model.named_parameters()} == shapes
    for name, before in codes.items():
        assert torch.equal(read_codes(model.get_submodule(name))[0], before), f"{name}: codes moved"


def test_folding_is_an_affine_map_of_the_output(begun):
    job, model = begun(3, activation_bits=None)
    layer = model.head
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(20, 16, generator=generator)
    with torch.no_grad():
        before = layer(inputs)
        fold_affine_(layer, torch.tensor([1.7]), torch.tensor([-0.4]))
        torch.testing.assert_close(layer(inputs), 1.7 * before - 0.4, atol=1e-5, rtol=1e-5)
