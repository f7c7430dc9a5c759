"""Signs with a magnitude of rank 1 for every layer, and further such terms for the channels that gain most.

One term costs 1 bit a weight and two vectors (about 3.5 % of float32). What a budget has beyond it goes to
terms of the rest that the first ones leave (see ``sign_layer``), channel by channel. A layer whose terms cost
as much as float16 stays in it.
"""

import torch
from torch import Tensor, nn

from benchmarks.compression.candidate import Candidate, Removal
from benchmarks.compression.layer_statistics import output_sensitivities
from benchmarks.compression.sign_layer import SignLayer, sign_terms, signs_of
from brevitas_defakeq.config import FORWARD_BATCH
from brevitas_defakeq.haq.importance import expand_energy
from brevitas_defakeq.nn.module_tree import copy_module, modules_by_name, replace_modules
from brevitas_defakeq.pipeline import Job

#: Terms of a channel at most: about what float16 costs.
MOST_TERMS = 12


def term_gains(weight: Tensor, energy: Tensor, count: int) -> Tensor:
    """By how much each of ``count`` terms lowers the squared output error of an image, [count, C_out].

    Args:
        weight: [C_out, K].
        energy: A_j of the inputs, [groups, K]; inputs are taken as uncorrelated.
    """
    power = expand_energy(energy, len(weight)).square().double()
    errors = [(rest.double().square() * power).sum(dim=1) for rest, _, _ in sign_terms(weight, count)]
    *_, (rest, rows, columns) = sign_terms(weight, count)
    last = rest - signs_of(rest) * torch.outer(rows, columns)
    errors.append((last.double().square() * power).sum(dim=1))
    return -torch.stack(errors).diff(dim=0)


def stored_values(terms: Tensor, width: int) -> float:
    """Bytes of a layer's signs, vectors and numbers of terms [C_out], for K = ``width``."""
    used = int(terms.sum())
    return used * width / 8 + 2 * used + 2 * int(terms.max()) * width + len(terms)


def sign_rank_one(job: Job) -> Removal:
    """Takes terms of single channels away, the least logit error for each byte first; one always stays."""
    layers = job.reference_layers
    sensitivities = output_sensitivities(job.reference, layers, job.images, job.observer.logit, FORWARD_BATCH)
    gains, owners = [], []
    widths: dict[str, int] = {}
    offset = 0
    for name, layer in layers.items():
        weight = layer.get_parameter("weight").flatten(1)
        channels, widths[name] = weight.shape
        gain = term_gains(weight, job.energies[name], MOST_TERMS)[1:] * sensitivities[name]
        gain = gain.cummin(dim=0).values  # a later term never goes after an earlier one
        gains.append((gain / (widths[name] / 8 + 2)).flatten())
        owners.append((torch.arange(channels) + offset).repeat(MOST_TERMS - 1))
        offset += channels
    # Of equal gains the later terms go first.
    order = torch.argsort(torch.cat([gain.flip(0) for gain in gains]), stable=True)
    owner = torch.cat([names.flip(0) for names in owners])[order]

    def without(gone: Tensor) -> Candidate:
        terms = (MOST_TERMS - torch.bincount(owner[gone], minlength=offset)).to(torch.uint8)
        model = copy_module(job.reference).requires_grad_(True)
        modules = modules_by_name(model)
        new: dict[nn.Module, nn.Module] = {}
        start = 0
        for name, width in widths.items():
            layer = modules[name]
            weight = layer.get_parameter("weight")
            own, start = terms[start : start + len(weight)], start + len(weight)
            if stored_values(own, width) < 2 * weight.numel():
                new[layer] = SignLayer(layer, own)
        replace_modules(model, new)
        return Candidate.whole(model)

    return Removal("sign with rank-1 magnitude", len(owner), without)
