"""Truncated SVD of each layer's weight, weighted by the layer's calibration inputs.

With ``C = sum x x^T = S S^T`` over the inputs x of a layer, ``||(W - W') S||^2`` is the squared error of its
output. Its minimum over W' of rank r is ``W' = P_r D_r Q_r^T S^-1`` with the truncated SVD ``P_r D_r Q_r^T``
of ``W S`` (Wang et al., SVD-LLM, ICLR 2025), and each singular value dropped adds its square. Two thin
layers take the layer's place: K -> r with its kernel, and r -> C_out. Linear layers and convolutions with one
group are decomposed, where that saves bytes; depthwise and grouped ones stay.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.compression.candidate import Candidate, Removal
from benchmarks.compression.layer_statistics import is_matrix, output_sensitivities, second_moments
from brevitas_defakeq.config import FORWARD_BATCH
from brevitas_defakeq.nn.module_tree import copy_module, modules_by_name, replace_modules
from brevitas_defakeq.pipeline import Job

#: Added to the eigenvalues of C, relative to their mean: directions no calibration input has.
_RIDGE = 1e-6


@dataclass(frozen=True)
class Factors:
    """``left @ right`` = W [C_out, K]; ``energies`` [R]: squared output error of an image without each."""

    left: Tensor
    right: Tensor
    energies: Tensor


class ThinLayers(nn.Sequential):
    """K -> r without a bias, then r -> C_out; ``weight`` is the second's, for code that asks its type."""

    @property
    def weight(self) -> Tensor:
        return self[1].get_parameter("weight")


def weighted_factors(weight: Tensor, moment: Tensor) -> Factors:
    """The SVD of a weight [C_out, K] weighted by its input's second moment [K, K], components falling."""
    values, vectors = torch.linalg.eigh(moment.double())
    values = values.clamp_min(0)
    values = values + _RIDGE * values.mean().clamp_min(1e-12)
    root, inverse = vectors * values.sqrt(), (vectors / values.sqrt()).T
    left, sizes, right = torch.linalg.svd(weight.detach().double() @ root, full_matrices=False)
    halves = sizes.sqrt()
    return Factors((left * halves).float(), (halves[:, None] * right @ inverse).float(), sizes.square())


def thin_layers(layer: nn.Module, factors: Factors, rank: int) -> ThinLayers:
    """The two layers of rank ``rank`` that take the place of a Linear or of a Conv2d with one group."""
    weight = layer.get_parameter("weight")
    bias = layer.bias is not None
    first = copy.deepcopy(layer)
    right, left = factors.right[:rank], factors.left[:, :rank]
    first.register_parameter("weight", nn.Parameter(right.reshape(rank, *weight.shape[1:]).clone()))
    first.register_parameter("bias", None)
    if isinstance(first, nn.Linear):
        first.out_features = rank
        second: nn.Module = nn.Linear(rank, len(weight), bias=bias)
    else:
        assert isinstance(first, nn.Conv2d)
        first.out_channels = rank
        second = nn.Conv2d(rank, len(weight), 1, bias=bias)
    shape = second.get_parameter("weight").shape
    second.register_parameter("weight", nn.Parameter(left.reshape(shape).clone()))
    if bias:
        second.register_parameter("bias", nn.Parameter(layer.get_parameter("bias").detach().clone()))
    return ThinLayers(first, second)


def truncated_svd(job: Job) -> Removal:
    """Drops components of all layers, the least logit error for each stored value first."""
    layers = {name: layer for name, layer in job.reference_layers.items() if is_matrix(layer)}
    moments = second_moments(job.reference, layers, job.batches())
    sensitivities = output_sensitivities(job.reference, layers, job.images, job.observer.logit, FORWARD_BATCH)
    factors = {
        name: weighted_factors(layer.get_parameter("weight").flatten(1), moments[name])
        for name, layer in layers.items()
    }
    gains, owners = [], []
    for index, (name, found) in enumerate(factors.items()):
        values = found.left.shape[0] + found.right.shape[1]
        gains.append(sensitivities[name] * found.energies / values)
        owners.append(torch.full((len(found.energies),), index))
    order = torch.argsort(torch.cat(gains), stable=True)
    owner = torch.cat(owners)[order]
    full = torch.bincount(owner)

    def without(gone: Tensor) -> Candidate:
        ranks = (full - torch.bincount(owner[gone], minlength=len(full))).clamp_min(1).tolist()
        model = copy_module(job.reference).requires_grad_(True)
        modules, thin = modules_by_name(model), {}
        for (name, found), rank in zip(factors.items(), ranks, strict=True):
            height, width = found.left.shape[0], found.right.shape[1]
            if rank * (height + width) < height * width:
                thin[modules[name]] = thin_layers(modules[name], found, rank)
        replace_modules(model, thin)
        return Candidate.whole(model)

    return Removal("truncated SVD", len(owner), without)
