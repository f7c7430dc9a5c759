"""The last pass over the whole network: towards the float model's logits and features, never away."""

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from brevitas_defakeq.quant.coded_weight import read_codes


@torch.no_grad()
def held_out_error(job, model):
    """Of logit and feature on the held-out images, each relative to the float spread over all images."""
    batch, spread = job.images[job.held_out], {}
    observed = {}
    for variant, network in (("float", job.reference), ("quantized", model)):
        handle = network.head.register_forward_pre_hook(
            lambda _, inputs, variant=variant: observed.update({f"{variant} feature": inputs[0]})
        )
        observed[f"{variant} logit"] = network(batch)
        if variant == "float":
            spread["logit"] = network(job.images).var()
            spread["feature"] = observed["float feature"].var()
            network(batch)
        handle.remove()
    return sum(
        float((observed[f"quantized {part}"] - observed[f"float {part}"]).square().mean() / spread[part])
        for part in ("logit", "feature")
    )


def codes(job, model):
    return {layer.name: read_codes(model.get_submodule(layer.name))[0] for layer in job.plan.layers}


@pytest.mark.parametrize(("loss", "rounding_lr"), [("mse", 0.0), ("mse", 0.03), ("contrastive", 0.03)])
def test_it_helps(begun, loss, rounding_lr):
    """Codes stay where rounding_lr is 0, and within their width otherwise."""
    job, model = begun(3, final__steps=25, final__loss=loss, final__rounding_lr=rounding_lr)
    before, start = held_out_error(job, model), codes(job, model)
    job.tune_(model)
    after = held_out_error(job, model)
    assert after < 0.95 * before, (before, after)
    found = codes(job, model)
    assert all(torch.equal(found[name], start[name]) for name in found) is (rounding_lr == 0)
    for name in found:
        assert found[name].min() >= 0 and found[name].max() <= 7
        assert torch.equal(found[name], found[name].round())


def test_never_worse_than_its_start(begun):
    job, model = begun(3, final__steps=5, final__lr=50.0)
    before = held_out_error(job, model)
    job.tune_(model)
    assert held_out_error(job, model) <= before * 1.001


def test_no_steps_no_change(begun):
    job, model = begun(3, final__steps=0)
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    job.tune_(model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.named_parameters())


def test_a_batch_in_parts_has_the_same_gradients(begun, monkeypatch):
    """What large detectors need: an image at a time, blocks that run again in the backward pass."""
    found = []

    def keep(optimizer, args, options):
        tensors = [tensor for group in optimizer.param_groups for tensor in group["params"]]
        found.append(torch.cat([tensor.grad.flatten() for tensor in tensors if tensor.grad is not None]))

    handle = register_optimizer_step_pre_hook(keep)
    try:
        for limit in (4 << 30, 0):
            monkeypatch.setattr("brevitas_defakeq.pipeline.TUNING_BYTES", limit)
            job, model = begun(3, final__steps=1)
            job.tune_(model)
    finally:
        handle.remove()
    whole, parts = found
    assert job.images_at_once() == 1
    assert (parts - whole).norm() < 0.01 * whole.norm()  # a sum in another order turns single roundings
