"""Learned rounding of a block: never worse than its start on held-out images."""

import pytest
import torch


@torch.no_grad()
def held_out_error(job, model, name):
    """Mean squared error of a block's output on the held-out images, by hooks of this test."""
    images, observed = job.images[job.held_out], {}
    for variant, network in (("float", job.reference), ("quantized", model)):
        handle = network.get_submodule(name).register_forward_hook(
            lambda _, __, output, variant=variant: observed.update({variant: output})
        )
        network(images)
        handle.remove()
    return float((observed["quantized"] - observed["float"]).square().mean())


def state(model):
    return {name: tensor.clone() for name, tensor in (*model.named_parameters(), *model.named_buffers())}


@pytest.mark.parametrize("block", [0, 1, 2, 3])
def test_never_worse_than_its_start(begun, block):
    """Steps that wreck the block are taken back whole; matching is off, so the start is the model itself."""
    job, model = begun(
        2, reconstruction__matching="none", reconstruction__scale_lr=30.0, reconstruction__rounding_lr=30.0
    )
    work = job.reconstruction(model)
    name = job.plan.blocks[block].name
    work._match_(job.plan.blocks[block], work._task(job.plan.blocks[block], block))  # ranges are fitted
    before, saved = held_out_error(job, model, name), state(model)
    errors = work.block_(block)
    after = held_out_error(job, model, name)
    assert after <= before * (1 + 1e-5), (before, after)
    if errors["after"] >= errors["before"]:
        found = state(model)
        assert all(torch.equal(found[key], tensor) for key, tensor in saved.items()), "not taken back whole"


@pytest.mark.parametrize("veft", [False, True])
def test_learning_lowers_the_error(begun, veft):
    job, model = begun(
        2, reconstruction__matching="none", reconstruction__iterations=60, veft__enabled=veft,
        veft__contrastive_weight=0.1,
    )  # fmt: skip
    work = job.reconstruction(model)
    for index, block in enumerate(job.plan.blocks[:2]):
        before = held_out_error(job, model, block.name)
        errors = work.block_(index)
        after = held_out_error(job, model, block.name)
        assert after < 0.9 * before, (block.name, before, after)
        assert errors["after"] < errors["before"]
        weight = model.get_submodule(block.layers[0]).quant_weight()
        rows = getattr(weight, "value", weight).detach().flatten(1)
        assert all(len(row.unique()) <= 4 for row in rows), "a rounding stayed soft"


def test_a_seed_repeats_and_the_global_generator_is_left_alone(begun):
    results = []
    for _ in range(2):
        job, model = begun(3, veft__enabled=True)
        before = torch.get_rng_state()
        job.reconstruction(model).block_(1)
        assert torch.equal(torch.get_rng_state(), before)
        results.append(state(model))
        torch.rand(3)
    assert all(torch.equal(results[1][name], tensor) for name, tensor in results[0].items())


def test_the_float_model_is_never_changed(begun):
    job, model = begun(2, veft__enabled=True, veft__alignment="detector")
    before = state(job.reference)
    job.reconstruct_(model)
    job.tune_(model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in state(job.reference).items())
    assert not any(parameter.grad is not None for parameter in job.reference.parameters())
    assert not any("forward" in vars(module) for module in job.reference.modules())
