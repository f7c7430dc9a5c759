"""A layer whose weight is a sum of sign matrices, each with a magnitude of rank 1.

``W ~ sum_k sign(R_k) * (a_k b_k^T)``, ``R_1 = W``, ``R_{k+1} = R_k - sign(R_k) * (a_k b_k^T)``, with positive
a_k [C_out] and b_k [K]: of all such products the nearest to ``|R_k|``. With one term it is OneBit's
sign-value-independent decomposition (Xu et al., NeurIPS 2024).
"""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from brevitas_defakeq.nn.layer_kinds import layer_kind_of

#: Power iterations at most; the matrices have no negative elements, so that they converge in a few.
_ITERATIONS = 100


def rank_one(magnitudes: Tensor) -> tuple[Tensor, Tensor]:
    """a [M] and b [N], none negative and of the same norm, with the least ``||magnitudes - a b^T||``.

    It is the first pair of singular vectors (Eckart and Young), which for a matrix [M, N] without negative
    elements has none either (Perron and Frobenius).

    >>> rank_one(torch.tensor([[2.0, 1.0], [1.0, 2.0]]))[0]
    tensor([1.2247, 1.2247])
    """
    right = magnitudes.sum(dim=0)
    right = right / right.norm().clamp_min(1e-30)
    for _ in range(_ITERATIONS):
        left = magnitudes @ right
        after = magnitudes.T @ (left / left.norm().clamp_min(1e-30))
        after = after / after.norm().clamp_min(1e-30)
        done = (after - right).norm() < 1e-6
        right = after
        if done:
            break
    left = magnitudes @ right
    size = left.norm()
    return left / size.sqrt().clamp_min(1e-30), right * size.sqrt()


def signs_of(values: Tensor) -> Tensor:
    """1 where a value is 0 or more, otherwise -1."""
    return torch.where(values >= 0, 1.0, -1.0)


def sign_terms(weight: Tensor, count: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """(R_k [C_out, K], a_k, b_k) of the first ``count`` terms of a weight [C_out, K]."""
    rest = weight.detach().clone()
    for _ in range(count):
        rows, columns = rank_one(rest.abs())
        yield rest, rows, columns
        rest = rest - signs_of(rest) * torch.outer(rows, columns)


class SignLayer(nn.Module):
    """Computes what ``layer`` does, with a weight of sign terms.

    Args:
        layer: of a registered layer kind; its weight is read as [C_out, K].
        terms: number of terms of each output channel, [C_out] uint8, 1 or more.

    Attributes:
        rows: a_k [terms, C_out]; ``columns``: b_k [terms, K].
        latent: tensors [terms, C_out, K] whose signs count; gradients pass straight through.
    """

    def __init__(self, layer: nn.Module, terms: Tensor) -> None:
        super().__init__()
        weight = layer.get_parameter("weight")
        found = list(sign_terms(weight.flatten(1), int(terms.max())))
        self.shape = weight.shape
        self.latent = nn.Parameter(torch.stack([rest for rest, _, _ in found]))
        self.rows = nn.Parameter(torch.stack([rows for _, rows, _ in found]))
        self.columns = nn.Parameter(torch.stack([columns for _, _, columns in found]))
        self.terms: Tensor
        self.register_buffer("terms", terms.clone())
        self.bias = None if layer.bias is None else nn.Parameter(layer.get_parameter("bias").detach().clone())
        geometry = copy.deepcopy(layer)
        geometry.register_parameter("weight", None)
        geometry.register_parameter("bias", None)
        self.geometry = (geometry,)  # in a tuple, so that torch does not see a part of the network

    @property
    def used(self) -> Tensor:
        """Which terms a channel has, bool [terms, C_out]."""
        return torch.arange(len(self.rows))[:, None] < self.terms

    @property
    def weight(self) -> Tensor:
        """The sum of the terms, shaped like the layer's weight."""
        signs = self.latent + (signs_of(self.latent) - self.latent).detach()
        rows = torch.where(self.used, self.rows, 0.0)
        return torch.einsum("kmn,km,kn->mn", signs, rows, self.columns).view(self.shape)

    def forward(self, inputs: Tensor) -> Tensor:
        (layer,) = self.geometry
        return layer_kind_of(layer).operation(layer, inputs, self.weight, self.bias)

    def signs(self) -> Tensor:
        """The signs that are stored, bool [used terms, K]."""
        return self.latent[self.used] >= 0

    def set_signs_(self, positive: Tensor) -> None:
        """Inverse of ``signs``."""
        self.latent[self.used] = torch.where(positive, 1.0, -1.0)

    def used_rows(self) -> Tensor:
        """The stored elements of ``rows``, [used terms]."""
        return self.rows[self.used]

    def set_used_rows_(self, values: Tensor) -> None:
        """Inverse of ``used_rows``."""
        self.rows[self.used] = values
