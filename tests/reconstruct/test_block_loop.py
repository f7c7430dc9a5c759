"""All blocks in data-flow order: shares of the compute, memory limits, what stays afterwards."""

import pytest
import torch

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
