"""The relaxed optimum: the closed form against scipy, the trained widths against the closed form."""

import math

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from brevitas_defakeq.config import HAQConfig
from brevitas_defakeq.haq.relaxed import horizontal_loss, learn_bit_widths_, shift_to_budget
from brevitas_defakeq.quant.bit_width import relaxed_bits
from brevitas_defakeq.quant.partial_float import weight_quantizer
from brevitas_defakeq.quant.presets import HAQWeightPerChannelFloat


def problem(layers=12, spread=1.0, seed=0):
    rng = np.random.default_rng(seed)
    importance = rng.lognormal(0, spread, layers)
    return importance / importance.mean(), rng.integers(100, 20_000, layers).astype(float)


def closed_form(
    importance: torch.Tensor,
    sizes: torch.Tensor,
    average_bits: float,
    lowest: float,
    highest: float,
    error_base: float,
) -> torch.Tensor:
    """Minimizer of the relaxed eq. 5: ``b = log_e(S/p) + c``, clipped, c from the budget. [L]"""
    free = torch.log(importance / sizes) / math.log(error_base)
    free = free - (free * sizes).sum() / sizes.sum() + average_bits
    span = float(free.max() - free.min()) + highest - lowest
    low, high = -span, span
    for _ in range(100):
        middle = (low + high) / 2
        average = (((free + middle).clamp(lowest, highest) * sizes).sum() / sizes.sum()).item()
        low, high = (middle, high) if average <= average_bits else (low, middle)
    return (free + low).clamp(lowest, highest)


@pytest.mark.parametrize(("base", "spread"), [(2.0, 0.3), (4.0, 1.0), (2.0, 3.0)])
def test_closed_form_against_scipy(base, spread):
    importance, sizes = problem(8, spread)
    share = sizes / sizes.sum()
    found = closed_form(torch.tensor(importance), torch.tensor(sizes), 3.0, 2.0, 8.0, base).numpy()
    solved = minimize(
        lambda bits: (importance * base**-bits).sum(),
        np.full(8, 3.0),
        jac=lambda bits: -np.log(base) * importance * base**-bits,
        bounds=[(2, 8)] * 8,
        constraints={"type": "ineq", "fun": lambda bits: 3.0 - bits @ share, "jac": lambda bits: -share},
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-14},
    )
    assert found @ share == pytest.approx(3.0, abs=1e-9)
    error = lambda bits: (importance * base**-bits).sum()  # noqa: E731
    assert error(found) <= error(solved.x) * (1 + 1e-6)
    np.testing.assert_allclose(found, solved.x, atol=0.02)


def quantizers(count, candidates=(2, 3, 4, 6, 8)):
    return {
        f"l{index}": weight_quantizer(
            qnn.QuantLinear(
                4,
                2,
                weight_quant=HAQWeightPerChannelFloat,
                weight_bit_width=8,
                weight_candidate_bits=candidates,
            )
        )
        for index in range(count)
    }


def learn(made, importance, sizes, budget, **options):
    """Widths that the quantizers learn; importance and sizes are in their order."""
    scores, counts = (dict(zip(made, values.tolist(), strict=True)) for values in (importance, sizes))
    defaults = {
        "penalty": HAQConfig().penalty,
        "steps": HAQConfig().relaxed_steps,
        "lr": HAQConfig().relaxed_lr,
    }
    return learn_bit_widths_(made, scores, counts, budget, **{**defaults, **options})


@pytest.mark.parametrize(
    ("base", "budget", "spread"),
    [(2.0, 3.0, 0.5), (4.0, 3.0, 1.0), (4.0, 2.25, 1.0), (2.0, 5.0, 2.0), (4.0, 3.0, 3.0)],
)
def test_learned_widths_reach_the_closed_form(base, budget, spread):
    importance, sizes = problem(12, spread)
    made = quantizers(12)
    learned = learn(made, importance, sizes, budget, error_base=base)
    bits = torch.tensor(list(learned.values()), dtype=torch.float64)
    size, score = torch.tensor(sizes), torch.tensor(importance)
    best = closed_form(score, size, budget, 2.0, 8.0, base)
    assert float((bits * size).sum() / size.sum()) <= budget + 1e-6
    assert float((bits * size).sum() / size.sum()) == pytest.approx(budget, abs=1e-4)
    reached, least = ((score * base**-b).sum().item() for b in (bits, best))
    assert reached <= least * 1.01, f"{reached / least:.4f} times the least error"
    assert (bits - best).abs().max() < 0.5
    carried = [relaxed_bits(quantizer).item() for quantizer in made.values()]
    assert carried == pytest.approx(list(learned.values()), abs=1e-5), "the layers carry the result"


@pytest.mark.parametrize(("budget", "expected"), [(2.0, 2.0), (8.0, 8.0), (9.0, 8.0)])
def test_budgets_at_the_ends(budget, expected):
    importance, sizes = problem(4)
    made = quantizers(4)
    learned = learn(made, importance, sizes, budget, error_base=4.0, steps=50)
    assert list(learned.values()) == pytest.approx([expected] * 4, abs=1e-4)


def test_horizontal_loss_by_hand():
    bits = torch.tensor([2.0, 4.0], requires_grad=True)
    importance, sizes = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 1.0])
    loss, excess = horizontal_loss(bits, importance, sizes, 2.0, error_base=2.0, penalty=10.0)
    assert excess.item() == 0.5  # (6 + 4) / 4 - 2
    assert loss.item() == pytest.approx(1 / 4 + 2 / 16 + 10 * 0.25)
    loss.backward()
    ln2 = np.log(2)
    assert bits.grad.tolist() == pytest.approx(
        [-ln2 / 4 + 10 * 2 * 0.5 * 0.75, -ln2 / 8 + 10 * 2 * 0.5 * 0.25]
    )
    within, below = horizontal_loss(bits, importance, sizes, 3.0, error_base=2.0, penalty=10.0)
    assert below.item() == -0.5
    assert within.item() == pytest.approx(0.375), "no reward for staying below the budget"


def test_shift_to_budget():
    bits, sizes = torch.tensor([2.0, 5.0, 7.5]).double(), torch.tensor([1.0, 2.0, 1.0]).double()
    shifted = shift_to_budget(bits, sizes, 4.0, 2.0, 8.0)
    assert float((shifted * sizes).sum() / 4) == pytest.approx(4.0)
    assert shifted[0] == 2.0  # clipped
    assert shifted[2] - shifted[1] == pytest.approx(2.5)  # one constant for all
