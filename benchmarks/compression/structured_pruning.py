"""Structured pruning: hidden units, channels and attention heads removed, so that the matrices get smaller.

The score of a unit is Taylor's first order of what its removal does to the logit, ``E[(sum x dz/dx)^2]`` over
the inputs x of the layers that read it (Molchanov et al., CVPR 2019, on the logit in place of a loss, since
there are no labels), for each value that it stores. It is computed anew as units go. What is removed is
masked while blocks are reconstructed, so that they keep their shapes, and taken out at the end.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from benchmarks.compression.candidate import Candidate, Removal
from benchmarks.compression.channel_groups import Unit, channel_units, head_units
from benchmarks.compression.channel_removal import mask_, remove_
from benchmarks.compression.layer_statistics import GRADIENT_IMAGES
from brevitas_defakeq.config import FORWARD_BATCH
from brevitas_defakeq.detectors.observer import Observer
from brevitas_defakeq.nn.layer_kinds import channel_dim
from brevitas_defakeq.nn.module_tree import copy_module, modules_by_name, removed_after
from brevitas_defakeq.pipeline import Job
from brevitas_defakeq.utils.errors import UserError

#: How often the scores are computed; in between the least of them go.
ROUNDS = 10
#: Largest difference of a logit between masked and removed, relative to the largest logit.
_ROUNDING = 1e-3


def structured_pruning(job: Job) -> Removal:
    """Removes units, the least score for each stored value first; one unit of each group stays."""
    groups = removable_units(job)
    order = removal_order(job, groups)

    def without(gone: Tensor) -> Candidate:
        units = [order[index] for index in gone.tolist()]
        model = copy_module(job.reference).requires_grad_(True)
        mask_(model, units)

        def removed() -> nn.Module:
            smaller = copy_module(model)
            remove_(smaller, units)
            return smaller

        return Candidate(model, removed)

    return Removal("structured pruning", len(order), without)


def removable_units(job: Job) -> list[list[Unit]]:
    """Groups of units whose removal computes what masking them does.

    Raises:
        UserError: there are none.
    """
    images = job.images[:2]
    found = head_units(job.reference, job.plan)
    found += channel_units(job.reference, job.plan, job.observer, images[:1])
    groups = [
        group for group in found if len(group) > 1 and _removes(job.reference, group, job.observer, images)
    ]
    if not groups:
        raise UserError("structured pruning finds no channels that only layers read; choose another method")
    return groups


@torch.no_grad()
def _removes(model: nn.Module, group: Sequence[Unit], observer: Observer, images: Tensor) -> bool:
    """Whether the network without a unit runs, and gives the logits of the one in which it is masked."""
    masked, smaller = copy_module(model), copy_module(model)
    mask_(masked, group[:1])
    wanted = observer.logit(masked(images.clone()))
    try:
        remove_(smaller, group[:1])
        found = observer.logit(smaller(images.clone()))
    except Exception:  # whatever the network's code raises where a shape is not the one it expects
        return False
    return bool((found - wanted).abs().max() <= _ROUNDING * wanted.abs().max().clamp_min(1e-3))


def removal_order(job: Job, groups: Sequence[Sequence[Unit]]) -> list[Unit]:
    """All units but one of each group, the first to go first."""
    model = copy_module(job.reference)
    left = [list(group) for group in groups]
    total = sum(len(group) - 1 for group in groups)
    images = job.images[:GRADIENT_IMAGES]
    order: list[Unit] = []
    for step in range(ROUNDS):
        size = total * (step + 1) // ROUNDS - len(order)
        scored = sorted(
            (score, index, place)
            for index, scores in enumerate(unit_scores(model, left, job.observer, images))
            for place, score in enumerate(scores)
        )
        gone: list[list[int]] = [[] for _ in left]
        for _, index, place in scored:
            if size and len(gone[index]) < len(left[index]) - 1:
                gone[index].append(place)
                order.append(left[index][place])
                size -= 1
        mask_(model, order)
        left = [
            [unit for place, unit in enumerate(group) if place not in set(places)]
            for group, places in zip(left, gone, strict=True)
        ]
    return order


def unit_scores(
    model: nn.Module, groups: Sequence[Sequence[Unit]], observer: Observer, images: Tensor
) -> list[list[float]]:
    """The score of each unit for each of its stored values."""
    modules = modules_by_name(model)
    readers = {name for group in groups for unit in group for name in unit.columns}
    parts: dict[str, list[Tensor]] = {name: [] for name in readers}

    def watch(name: str, layer: nn.Module, inputs: tuple) -> None:
        source = inputs[0]

        def add(gradient: Tensor) -> None:
            moved = (source.detach() * gradient).movedim(channel_dim(layer), -1)
            parts[name].append(moved.reshape(images_now, -1, moved.shape[-1]).sum(dim=1))

        source.register_hook(add)

    handles = [
        modules[name].register_forward_pre_hook(lambda layer, inputs, name=name: watch(name, layer, inputs))
        for name in readers
    ]
    with removed_after(handles), torch.enable_grad():
        for part in images.split(FORWARD_BATCH):
            images_now = len(part)
            observer.logit(model(part.clone().requires_grad_())).sum().backward()
    model.zero_grad(set_to_none=True)
    changes = {name: torch.cat(found).double() for name, found in parts.items()}  # [images, C_in]
    return [[_score(unit, changes, modules) for unit in group] for group in groups]


def _score(unit: Unit, changes: dict[str, Tensor], modules: dict[str, nn.Module]) -> float:
    change = sum(changes[name][:, columns].sum(dim=1) for name, columns in unit.columns.items())
    values = 0
    for name, rows in unit.rows.items():
        weight = modules[name].get_parameter("weight")
        values += len(rows) * (weight[0].numel() + 1)
    for name, columns in unit.columns.items():
        weight = modules[name].get_parameter("weight")
        values += len(columns) * weight.numel() // weight.shape[1]
    assert isinstance(change, Tensor)
    return float(change.square().mean()) / values
