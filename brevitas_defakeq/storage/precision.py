"""Half precision with an exponent, and 8-bit tables: what everything that is not a weight is kept at."""

import torch
from torch import Tensor


def to_half(values: Tensor) -> tuple[Tensor, int]:
    """float32 -> (float16 mantissas, exponent): ``values ~ half * 2^-exponent``.

    The exponent lifts the largest value to just below half precision's largest, so small scales keep
    eleven bits instead of falling among the subnormals. It fits in a byte, and its power of two in float32.
    """
    largest = float(values.detach().abs().max()) if values.numel() else 0.0
    exponent = 0 if largest == 0.0 else min(14 - int(torch.frexp(torch.tensor(largest))[1]), 126)
    return torch.ldexp(values.detach(), torch.tensor(exponent)).half(), exponent


def from_half(half: Tensor, exponent: int) -> Tensor:
    """The values that ``to_half`` kept, float32."""
    return torch.ldexp(half.float(), torch.tensor(-exponent))


def column_codes(table: Tensor, scale: Tensor) -> Tensor:
    """[..., C] in units of one scale a column: int8 codes, symmetric."""
    return (table.detach() / scale).round().clamp(-127, 127).to(torch.int8)


def column_scale(table: Tensor) -> Tensor:
    """Largest magnitude of each column over 127, [C]."""
    return (table.detach().reshape(-1, table.shape[-1]).abs().amax(dim=0) / 127).clamp_min(1e-12)
