"""Which channels can be removed, in which order, and that a network without them equals the masked one."""

import pytest
import torch
from torch import nn

from benchmarks.compression.channel_groups import Unit, channel_units
from benchmarks.compression.channel_removal import mask_, remove_
from benchmarks.compression.structured_pruning import (
    removable_units,
    removal_order,
    structured_pruning,
    unit_scores,
)
from brevitas_defakeq.detectors.observer import Observer
from brevitas_defakeq.detectors.output import OutputSpec
from brevitas_defakeq.nn.module_tree import copy_module
from brevitas_defakeq.prepare.plan import make_plan


def names(group):
    return set(group[0].rows), set(group[0].columns)


def without_zeros_(model):
    """So that a 0 is a masked value."""
    for parameter in model.parameters():
        parameter.data[parameter == 0] = 0.01


def test_groups_of_a_network_with_gates_sums_and_concatenation(jobs):
    """``join`` is behind GroupNorm, which mixes its channels, so that they stay."""
    groups = removable_units(jobs("residual"))
    found = [
        (sorted(rows), sorted(columns), len(group)) for group in groups for rows, columns in [names(group)]
    ]
    assert sorted(found) == [
        (["depthwise", "excite", "expand"], ["project", "squeeze"], 10),
        (["left"], ["join"], 4),
        (["project", "stem"], ["expand", "left", "right"], 6),
        (["right"], ["join"], 5),
        (["squeeze"], ["excite"], 3),
    ]  # fmt: skip
    right = next(group for group in groups if names(group)[0] == {"right"})
    assert [unit.columns["join"].tolist() for unit in right] == [[4], [5], [6], [7], [8]]


def test_heads_and_hidden_units_of_a_transformer_block(jobs):
    groups = {frozenset(group[0].rows): group for group in removable_units(jobs("tiny"))}
    heads = groups[frozenset({"block.attn.qkv"})]
    assert [unit.attention for unit in heads] == ["block.attn"] * 2
    assert heads[1].columns["block.attn.proj"].tolist() == list(range(8, 16))
    assert heads[1].rows["block.attn.qkv"].tolist() == [*range(8, 16), *range(24, 32), *range(40, 48)]
    assert len(groups[frozenset({"block.mlp.fc1"})]) == 32
    assert frozenset({"stem.3"}) not in groups  # it makes the tokens, which LayerNorm reads


def test_a_flattened_map_has_several_columns_for_a_channel():
    model = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(20, 4), nn.ReLU(), nn.Linear(4, 1)
    )
    image = torch.randn(1, 3, 4, 4)
    plan = make_plan(model.eval(), image)
    groups = channel_units(model, plan, Observer(OutputSpec(), "5", "input"), image)
    first = next(group for group in groups if "0" in group[0].rows)
    assert first[2].columns["3"].tolist() == [8, 9, 10, 11]
    assert len(groups) == 2


@pytest.mark.parametrize("name", ["tiny", "residual"])
def test_the_pruned_network_equals_the_masked_one_and_is_smaller(jobs, name):
    job = jobs(name)
    without_zeros_(job.reference)
    order = removal_order(job, removable_units(job))
    generator = torch.Generator().manual_seed(0)
    for count in (1, len(order) // 2, len(order)):
        units = [order[index] for index in torch.randperm(len(order), generator=generator)[:count]]
        masked, smaller = copy_module(job.reference), copy_module(job.reference)
        mask_(masked, units)
        remove_(smaller, units)
        assert torch.allclose(masked(job.images), smaller(job.images), atol=1e-5)
        assert not torch.allclose(masked(job.images), job.reference(job.images), atol=1e-5)
        sizes = [sum(p.numel() for p in model.parameters()) for model in (masked, smaller)]
        assert sizes[1] < sizes[0]
        zeros = sum(int((p == 0).sum()) for p in masked.parameters())
        assert sizes[0] - sizes[1] == zeros  # all that was masked is gone


def test_masked_weights_stay_0_in_training(jobs):
    job = jobs("residual")
    without_zeros_(job.reference)
    removal = structured_pruning(job)
    candidate = removal.without(torch.arange(removal.count // 2))
    before = [p == 0 for p in candidate.model.parameters()]
    optimizer = torch.optim.Adam(candidate.model.parameters(), lr=0.1)
    candidate.model(job.images).sum().backward()
    optimizer.step()
    after = list(candidate.model.parameters())
    assert any(zeros.any() for zeros in before)
    assert all((p[zeros] == 0).all() for p, zeros in zip(after, before, strict=True))
    assert torch.allclose(candidate.model(job.images), candidate.finished()(job.images), atol=1e-4)


def test_scores_are_exact_where_the_network_is_linear():
    """Of z = sum_c v_c (u_c . x) the loss of unit c is its term: E[(v_c u_c . x)^2] over 4 + 1 values."""
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1)).eval()
    images = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    units = [Unit({"0": torch.tensor([c])}, {"1": torch.tensor([c])}) for c in (0, 1)]
    observer = Observer(OutputSpec(), "1", "input")
    (scores,) = unit_scores(model, [units], observer, images)
    terms = model[1].weight * model[0](images)
    assert scores == pytest.approx((terms.square().mean(0) / 5).tolist(), rel=1e-4)


def test_the_least_important_unit_goes_first(jobs):
    job = jobs("tiny")
    hidden = job.reference.get_submodule("block.mlp.fc2").weight
    hidden.data[:, 7] *= 1e-4
    order = removal_order(job, removable_units(job))
    assert order[0].rows["block.mlp.fc1"].tolist() == [7]
    assert len(order) == len({id(unit) for unit in order})
