"""GPTQ and GPTAQ against plain recomputation, Brevitas' own GPTQ, and nearest rounding."""

import brevitas.nn as qnn
import pytest
import torch
from brevitas.graph.gptq import gptq_mode
from torch import nn

from brevitas_defakeq.quant.coded_weight import read_codes
from brevitas_defakeq.quant.presets import HAQWeightPerChannelFloat, HAQWeightPerChannelSymmetric
from brevitas_defakeq.reconstruct.gptq import InputProducts, compensated_codes, round_layer_

BOUNDS = (0.0, 7.0)


def drawn(rows=5, columns=8, samples=40, seed=0):
    """Weight, grid and correlated inputs [columns, samples], in double precision."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    mixing = torch.randn(columns, columns, generator=generator, dtype=torch.float64)
    inputs = mixing @ torch.randn(columns, samples, generator=generator, dtype=torch.float64)
    scale = (weight.amax(1, keepdim=True) - weight.amin(1, keepdim=True)) / 7
    return weight, scale, (-weight.amin(1, keepdim=True) / scale).round(), inputs


def nearest(value, scale, zero, bounds=BOUNDS):
    return (value / scale + zero).round().clamp(*bounds)


def by_solving(weight, scale, zero, hessian, asymmetry=None, share=0.25):
    """The same, one column at a time: what is left is solved for by least squares, without any factor."""
    damped = hessian + 0.01 * hessian.diagonal().mean() * torch.eye(len(hessian), dtype=torch.float64)
    weight, codes = weight.clone(), torch.empty_like(weight)
    for column in range(len(hessian)):
        value = weight[:, column : column + 1].clone()
        codes[:, column : column + 1] = code = nearest(value, scale, zero)
        rest = range(column + 1, len(hessian))
        if not rest:
            break
        wanted = (value - scale * (code - zero)) * damped[column, rest]
        if asymmetry is not None:
            wanted = wanted + share * value * asymmetry[column, rest]
        weight[:, rest] += torch.linalg.solve(damped[rest][:, rest], wanted.T).T
    return codes


@pytest.mark.parametrize("seed", range(4))
def test_gptq_against_solving_column_by_column(seed):
    weight, scale, zero, inputs = drawn(seed=seed)
    hessian = inputs @ inputs.T
    found = compensated_codes(weight, scale, zero, BOUNDS, hessian)
    assert torch.equal(found, by_solving(weight, scale, zero, hessian))
    assert not torch.equal(found, nearest(weight, scale, zero))


def test_two_weights_by_hand():
    """w = (.4, .4), a grid of step 1, equal inputs: 0, and .4 goes to the other weight (less damping): 1."""
    weight = torch.tensor([[0.4, 0.4]], dtype=torch.float64)
    one, zero = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    hessian = torch.ones(2, 2, dtype=torch.float64)
    assert compensated_codes(weight, one, zero, BOUNDS, hessian).tolist() == [[0.0, 1.0]]
    apart = torch.eye(2, dtype=torch.float64)
    assert compensated_codes(weight, one, zero, BOUNDS, apart).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("columns", [8, 130, 300])
def test_the_output_error_is_below_nearest_however_many_columns_there_are(columns):
    weight, scale, zero, inputs = drawn(rows=20, columns=columns, samples=2 * columns, seed=columns)
    hessian = inputs @ inputs.T
    found = compensated_codes(weight, scale, zero, BOUNDS, hessian)
    if columns < 200:
        assert torch.equal(found, by_solving(weight, scale, zero, hessian)), (
            "batches of columns change nothing"
        )
    errors = [
        float(((scale * (codes - zero) - weight) @ inputs).square().mean())
        for codes in (found, nearest(weight, scale, zero))
    ]
    assert errors[0] < 0.8 * errors[1], errors


@pytest.mark.parametrize("seed", range(4))
def test_gptaq_against_solving_column_by_column(seed):
    weight, scale, zero, inputs = drawn(seed=seed)
    shifted = inputs + 0.3 * torch.roll(inputs, 1, 0) + 0.1
    asymmetry = (shifted - inputs) @ inputs.T
    found = compensated_codes(weight, scale, zero, BOUNDS, inputs @ inputs.T, asymmetry)
    assert torch.equal(found, by_solving(weight, scale, zero, inputs @ inputs.T, asymmetry))
    assert not torch.equal(found, compensated_codes(weight, scale, zero, BOUNDS, inputs @ inputs.T))


def test_gptaq_is_gptq_where_the_inputs_are_equal():
    weight, scale, zero, inputs = drawn()
    hessian = inputs @ inputs.T
    products = InputProducts()
    products.add(inputs[None], inputs.clone()[None])
    found = compensated_codes(weight, scale, zero, BOUNDS, products.hessian[0], products.asymmetry[0])
    assert torch.equal(found, compensated_codes(weight, scale, zero, BOUNDS, hessian))


def test_gptaq_comes_nearer_to_the_float_output_where_the_inputs_differ():
    """On many columns, the mean over draws: of ``W~ X`` from ``W X_f``."""
    errors = {"gptq": 0.0, "gptaq": 0.0}
    for seed in range(5):
        weight, scale, zero, inputs = drawn(rows=30, columns=40, samples=200, seed=seed)
        shifted = inputs + 0.2 * torch.roll(inputs, 1, 0)
        for kind, asymmetry in (("gptq", None), ("gptaq", (shifted - inputs) @ inputs.T)):
            codes = compensated_codes(weight, scale, zero, (0.0, 15.0), inputs @ inputs.T, asymmetry)
            errors[kind] += float((scale * (codes - zero) @ inputs - weight @ shifted).square().mean())
    assert errors["gptaq"] < errors["gptq"], errors


def test_an_input_that_is_always_zero_disturbs_nothing():
    weight, scale, zero, inputs = drawn()
    inputs[3] = 0
    found = compensated_codes(weight, scale, zero, BOUNDS, inputs @ inputs.T)
    assert torch.equal(found[:, 3], nearest(weight, scale, zero)[:, 3])
    assert found.isfinite().all()


def calibrated(layer):
    with torch.no_grad():
        layer(torch.zeros(1, *((6,) if isinstance(layer, nn.Linear) else (6, 8, 8))))
    return layer.eval()


def brevitas_layers():
    options = {"weight_quant": HAQWeightPerChannelFloat, "weight_bit_width": 3}
    yield "linear", lambda: qnn.QuantLinear(6, 5, bias=True, **options), (64, 6)
    yield "convolution", lambda: qnn.QuantConv2d(6, 4, 3, padding=1, stride=2, **options), (20, 6, 8, 8)
    yield "grouped", lambda: qnn.QuantConv2d(6, 4, 3, padding=1, groups=2, **options), (20, 6, 8, 8)
    symmetric = {**options, "weight_quant": HAQWeightPerChannelSymmetric}
    yield "symmetric", lambda: qnn.QuantLinear(6, 5, bias=True, **symmetric), (64, 6)


@pytest.mark.parametrize(("make", "shape"), [entry[1:] for entry in brevitas_layers()])
@torch.no_grad()
def test_as_brevitas_gptq(make, shape):
    """Layers whose input Brevitas reads rightly."""
    from brevitas_defakeq.nn.layer_kinds import layer_kind_of

    torch.manual_seed(0)
    theirs = calibrated(make())
    ours = calibrated(make())
    ours.load_state_dict(theirs.state_dict())
    inputs = torch.randn(shape).cumsum(1)
    before = read_codes(ours)[0]
    with gptq_mode(nn.Sequential(theirs), create_weight_orig=False, use_quant_activations=True) as mode:
        mode.model(inputs)
        mode.update()
    products = InputProducts()
    products.add(layer_kind_of(ours).windows(ours, inputs), None)
    round_layer_(ours, products)
    assert not torch.equal(read_codes(ours)[0], before), "a poor test"
    assert torch.equal(read_codes(ours)[0], read_codes(theirs)[0])
    assert all(torch.equal(*pair) for pair in zip(read_codes(ours)[1:], read_codes(theirs)[1:], strict=True))


@torch.no_grad()
def layer_errors(job, model):
    """Squared error of every layer's output on the training images, each model on its own inputs."""
    found, images = {}, job.images[job.train]
    for variant, network in (("float", job.reference), ("quantized", model)):
        handles = [
            network.get_submodule(layer.name).register_forward_hook(
                lambda _, __, output, key=(variant, layer.name): found.update({key: output})
            )
            for layer in job.plan.layers
        ]
        network(images)
        for handle in handles:
            handle.remove()
    return {
        layer.name: float((found["quantized", layer.name] - found["float", layer.name]).square().mean())
        for layer in job.plan.layers
    }


@pytest.mark.parametrize("kind", ["gptq", "gptaq"])
@pytest.mark.parametrize("target", ["any", "fpga"])
def test_in_a_network_every_layers_error_falls_and_grids_stay(begun, kind, target):
    errors, codes = {}, {}
    for rounding in ("nearest", kind):
        job, model = begun(
            3, target=target, reconstruction__matching="none", reconstruction__rounding=rounding
        )
        start = {layer.name: read_codes(model.get_submodule(layer.name)) for layer in job.plan.layers}
        job.reconstruct_(model)
        errors[rounding] = layer_errors(job, model)
        for name, (_, scale, zero) in start.items():
            codes[name], *grid = read_codes(model.get_submodule(name))
            assert torch.equal(grid[0], scale) and torch.equal(grid[1], zero), name
            lowest, highest = (-3, 3) if target == "fpga" else (0, 7)
            assert codes[name].min() >= lowest and codes[name].max() <= highest
        moved = [name for name, (before, *_) in start.items() if not torch.equal(codes[name], before)]
        assert len(moved) == (0 if rounding == "nearest" else len(start))
    lower = [name for name, error in errors[kind].items() if error < errors["nearest"][name]]
    assert len(lower) >= len(errors[kind]) - 1, errors
    assert sum(errors[kind].values()) < 0.8 * sum(errors["nearest"].values())
