"""Every layer's output, matched to the float model in mean and spread or by regression and folded away."""

import pytest
import torch

from brevitas_defakeq.config import FORWARD_BATCH
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
    settings = {"activation_bits": None, "reconstruction__rounding": "nearest"}
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


@torch.no_grad()
def layer_outputs(model, names, images):
    """Every layer's output as rows, {name: [C, N * positions]}."""
    found, handles = {}, []
    for name in names:
        layer = model.get_submodule(name)

        def note(layer, _, output, name=name):
            found[name] = output.movedim(1 if layer.weight.dim() == 4 else -1, 0).flatten(1).double()

        handles.append(layer.register_forward_hook(note))
    model(images)
    for handle in handles:
        handle.remove()
    return found


def test_regression_leaves_an_error_without_mean_that_no_gain_lowers(begun):
    """The normal equations of every channel on the matching images, which are more than one batch."""
    settings = {"activation_bits": None, "reconstruction__rounding": "nearest"}
    job, model = begun(2, **settings, reconstruction__matching="regression")
    names, matching = [layer.name for layer in job.plan.layers], job.images[job.train]
    assert len(matching) > FORWARD_BATCH
    wanted = layer_outputs(job.reference, names, matching)
    before = layer_outputs(model, names, matching)
    job.reconstruct_(model)
    after, bounded = layer_outputs(model, names, matching), 0
    for name in names:
        present, error = after[name], after[name] - wanted[name]
        power, spread = wanted[name].var(1, correction=0), present.std(1, correction=0)
        slope = (error * (present - present.mean(1, keepdim=True))).mean(1) / spread.square()
        fitted = slope.abs() < 1e-4
        bounded += int((~fitted).sum())
        assert (error.mean(1).abs() < 1e-4 * power.sqrt()).all(), name
        assert (error[fitted].square().mean(1) <= power[fitted] * (1 + 1e-6)).all(), name
        assert error.square().sum() < (before[name] - wanted[name]).square().sum(), name
    assert bounded <= 0.05 * sum(map(len, after.values())), "gains at their bounds are the exception"


def test_regression_leaves_less_error_than_mean_and_spread(begun):
    """The first layer reads the same images in both runs."""
    errors = {}
    for kind in ("moments", "regression"):
        settings = {"activation_bits": None, "reconstruction__rounding": "nearest"}
        job, model = begun(2, **settings, reconstruction__matching=kind)
        name, matching = job.plan.layers[0].name, job.images[job.train]
        job.reconstruct_(model)
        found, wanted = (layer_outputs(net, [name], matching)[name] for net in (model, job.reference))
        errors[kind] = (found - wanted).square().sum(1)
    assert (errors["regression"] <= errors["moments"] * (1 + 1e-5)).all()
    assert errors["regression"].sum() < 0.99 * errors["moments"].sum(), "a poor test"


@pytest.mark.parametrize("kind", ["moments", "regression"])
def test_matching_costs_no_parameter(begun, kind):
    job, model = begun(reconstruction__rounding="nearest", reconstruction__matching=kind)
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
