"""Training of the layers' widths under eq. 6.

Plain Adam on eq. 6 overshoots the budget with lambda = 1 and turns uniform with a large lambda; an
augmented Lagrangian (the penalty plus a multiplier that is raised until the budget holds) reaches the
closed form ``b = log_e(S/p) + c``, clipped, to a tenth of a percent.
"""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from brevitas_defakeq.nn.module_tree import device_of
from brevitas_defakeq.quant.bit_width import (
    candidate_parameter,
    candidates_of,
    relaxed_bits,
    set_relaxed_bits_,
)


def horizontal_loss(
    bits: Tensor, importance: Tensor, sizes: Tensor, average_bits: float, *, error_base: float, penalty: float
) -> tuple[Tensor, Tensor]:
    """L_hor's two parts (eq. 6): ``sum_l S_l E(b̂_l)`` and the excess of the average over B_avg.

    Args:
        bits: b̂, [L].
        importance: S_l, [L], mean 1.
        sizes: p_l, [L].
        error_base: E(b) = error_base^-b.
        penalty: lambda; the loss is ``first + penalty * max(0, excess)^2``.

    Returns:
        the loss of eq. 6 and the (signed) excess in bits.
    """
    excess = (bits * sizes).sum() / sizes.sum() - average_bits
    error = (importance * error_base**-bits).sum()
    return error + penalty * excess.clamp_min(0.0).square(), excess


def learn_bit_widths_(
    quantizers: Mapping[str, nn.Module],
    importance: Mapping[str, float],
    sizes: Mapping[str, int],
    average_bits: float,
    *,
    error_base: float,
    penalty: float,
    steps: int,
    lr: float,
) -> dict[str, float]:
    """Optimize the widths of the quantizers under eq. 6 and the budget.

    The multiplier of the augmented Lagrangian is updated every 5 steps. Afterwards the widths are shifted by
    one constant (found by bisection), so that the average meets the budget and does not exceed it.

    Args:
        quantizers: weight quantizer of each layer; carries the width that is learned.
        importance: S_l, mean 1.
        sizes: p_l.
        average_bits: B_avg.
        error_base: E(b) = error_base^-b.
        penalty: lambda of eq. 6.
        steps: of Adam.
        lr: learning rate in bits, decayed by a cosine to a hundredth.

    Returns:
        b̂ of each layer.
    """
    names = list(quantizers)
    device = device_of(quantizers[names[0]])
    score = torch.tensor([importance[name] for name in names], dtype=torch.float64, device=device)
    size = torch.tensor([float(sizes[name]) for name in names], dtype=torch.float64, device=device)
    lowest, highest = _bounds(next(iter(quantizers.values())))
    for name in names:
        set_relaxed_bits_(quantizers[name], min(max(average_bits, lowest), highest))
    carriers = [candidate_parameter(quantizers[name]) for name in names]
    parameters: list[Tensor] = [carrier.get_parameter("bit_width_offset") for carrier in carriers]
    base = cast(int, carriers[0].bit_width_base)
    optimizer = torch.optim.Adam(parameters, lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1), eta_min=lr / 100)
    # Errors are scaled to 1 at the budget, so that the penalty has the same weight at any size of them.
    unit = float((score * error_base**-average_bits).sum())
    multiplier = 0.0
    for step in range(steps):
        bits = (torch.stack(parameters).abs() + base).double()  # b̂, kept within its range below
        loss, excess = horizontal_loss(
            bits, score / unit, size, average_bits, error_base=error_base, penalty=penalty * 4
        )
        optimizer.zero_grad()
        (loss + multiplier * excess).backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            for parameter in parameters:
                parameter.clamp_(lowest - base, highest - base)
        if step % 5 == 4:
            multiplier = max(0.0, multiplier + excess.item())
    learned = torch.stack([relaxed_bits(quantizers[name]).detach() for name in names]).double()
    learned = shift_to_budget(learned, size, average_bits, lowest, highest)
    for name, bits in zip(names, learned.tolist(), strict=True):
        set_relaxed_bits_(quantizers[name], bits)
    return dict(zip(names, learned.tolist(), strict=True))


def _bounds(quantizer: nn.Module) -> tuple[float, float]:
    """The smallest and the largest candidate."""
    candidates = candidates_of(quantizer)
    return candidates[0], candidates[-1]


def shift_to_budget(
    bits: Tensor, sizes: Tensor, average_bits: float, lowest: float, highest: float
) -> Tensor:
    """``clip(bits + c)`` with the largest c for which the weighted average does not exceed the budget."""
    low, high = lowest - highest, highest - lowest
    for _ in range(80):
        middle = (low + high) / 2
        average = (((bits + middle).clamp(lowest, highest) * sizes).sum() / sizes.sum()).item()
        low, high = (middle, high) if average <= average_bits else (low, middle)
    return (bits + low).clamp(lowest, highest)
