"""All blocks in data-flow order: shares of the compute, memory limits, what stays afterwards."""

import pytest
import torch

from brevitas_defakeq.reconstruct import block_loop
from brevitas_defakeq.reconstruct.capture import TensorStore


def test_blocks_hold_every_layer_once_and_share_the_compute(begun):
    job, model = begun(3)
    work = job.reconstruction(model)
    inside = [name for block in job.plan.blocks for name in block.layers]
    assert inside == [layer.name for layer in job.plan.layers]
    shares = [work.share((block,)) for block in job.plan.blocks]
    assert sum(shares) == pytest.approx(1) and all(share > 0 for share in shares)
    # stem.0: 8 channels x 27 weights x 64 positions; stem.3: 16 x 72 x 16
    macs = {"stem.0": 13824, "stem.3": 18432, "block": (48 + 16 + 32 + 32) * 16 * 16, "head": 16}
    assert shares == pytest.approx([macs[block.name] / sum(macs.values()) for block in job.plan.blocks])


def test_on_disk_as_in_memory(begun):
    found = []
    for limit in (0, 1 << 30):
        job, model = begun(3, veft__enabled=True)
        work = job.reconstruction(model)
        work.store = TensorStore(limit)
        for index in range(len(job.plan.blocks)):
            work.block_(index)
        found.append({name: tensor.clone() for name, tensor in model.named_parameters()})
    assert all(torch.equal(tensor, found[1][name]) for name, tensor in found[0].items())


def test_nothing_stays_attached(begun):
    job, model = begun(3, veft__enabled=True, veft__alignment="detector")
    modules = {name: type(module) for name, module in model.named_modules()}
    job.reconstruct_(model)
    assert {name: type(module) for name, module in model.named_modules()} == modules
    for module in (*model.modules(), *job.reference.modules()):
        assert not module._forward_hooks and not module._forward_pre_hooks


def test_the_meter_counts_forward_and_backward(begun):
    """Iterations x batch x 3, in images through the whole network: the blocks' shares add up to one."""
    job, model = begun(3, reconstruction__iterations=8, reconstruction__batch_size=4)
    job.reconstruct_(model)
    assert job.meter.by_stage["reconstruct"] == pytest.approx(8 * 4 * 3)
    assert job.meter.passes() > 8 * 4 * 3 / len(job.images)


# ------------------------------------------------------------------------------------------ activations first


def test_first_the_ranges_with_float_weights_then_the_codes(begun, monkeypatch):
    """Stage one sees weights as they are, and leaves them so; stage two keeps the ranges that it learned."""
    job, model = begun(3, activation_bits=4, reconstruction__activations_first=True)
    work, seen = job.reconstruction(model), []

    def learn(task, config):
        before = {name: tensor.clone() for name, tensor in task.quantized.named_parameters()}
        for layer in task.layers.values():
            assert torch.equal(layer.quant_weight(), layer.weight)
        errors = block_loop_learn(task, config)
        after = dict(task.quantized.named_parameters())
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        seen.append((errors, changed, {name: tensor.clone() for name, tensor in after.items()}))
        return errors

    def match(block, layers, captured, images, targets, *, ranges=True):
        if targets is not None:
            assert not ranges
        prepare(block, layers, captured, images, targets, ranges=ranges)

    block_loop_learn, prepare = block_loop.learn_activations_, block_loop.prepare_block_
    monkeypatch.setattr(block_loop, "learn_activations_", learn)
    monkeypatch.setattr(block_loop, "prepare_block_", match)
    for index in range(len(job.plan.blocks)):
        work.block_(index)
    assert len(seen) == len(job.plan.blocks)
    for errors, changed, _ in seen:
        assert not any(".weight_quant" in name for name in changed)
        assert bool(changed) == (errors["after"] < errors["before"])
    assert any(name.endswith("zero_point_impl.value") for _, changed, _ in seen for name in changed)
    assert all(".weight_quant.disable_quant" not in name for name in model.state_dict())
    assert not any(layer.weight_quant.disable_quant for layer in job.quantized_layers(model).values())


def test_activations_learned_first_fit_better(begun):
    """At 3-bit activations, the block's error with float weights falls."""
    job, model = begun(
        8, activation_bits=3, reconstruction__activations_first=True, reconstruction__iterations=40
    )
    work = job.reconstruction(model)
    index = next(index for index, block in enumerate(job.plan.blocks) if block.name == "block")
    task = work._task(job.plan.blocks[index], index)
    errors = block_loop.learn_activations_(task, work.config)
    assert errors["after"] < errors["before"]


def test_activations_first_is_counted(begun):
    job, model = begun(
        3, reconstruction__iterations=8, reconstruction__batch_size=4, reconstruction__activations_first=True
    )
    job.reconstruct_(model)
    assert job.meter.by_stage["reconstruct"] == pytest.approx(2 * 8 * 4 * 3)
