"""The range search against brute force over a fine grid and against min-max."""

import pytest
import torch

from brevitas_defakeq.quant.range_search import search_interval, search_rows, search_step


def rows(kind, count=8, width=60):
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(count, width, generator=generator)
    if kind == "outlier":
        values[:, 0] *= 6
    if kind == "shifted":
        values = values * 0.2 + 0.3
    return values


def error_of(values, scale, zero, low, high, weight=1.0):
    codes = (values / scale + zero).round().clamp(low, high)
    return ((scale * (codes - zero) - values).square() * weight).sum(dim=-1)


def brute_force(values, levels, symmetric, weight=1.0):
    """Least error of each row over 600 scales and every zero point."""
    half = (levels - 1) // 2
    low, high = (-half, half) if symmetric else (0, levels - 1)
    best = []
    for index, row in enumerate(values):
        w = weight if isinstance(weight, float) else weight[index]
        largest = float(row.abs().max()) * (2 if not symmetric else 1)
        scales = torch.linspace(0.1, 1.02, 600)[:, None] * largest / (half if symmetric else high)
        zeros = [0] if symmetric else range(low, high + 1)
        errors = [error_of(row[None], scales, float(zero), low, high, w).min() for zero in zeros]
        best.append(min(map(float, errors)))
    return torch.tensor(best)


def min_max(values, levels, symmetric):
    half = (levels - 1) // 2
    low, high = values.amin(1, keepdim=True).clamp_max(0), values.amax(1, keepdim=True).clamp_min(0)
    if symmetric:
        scale = torch.maximum(-low, high) / half
        return error_of(values, scale, torch.zeros_like(scale), -half, half)
    scale = (high - low) / (levels - 1)
    return error_of(values, scale, (-low / scale).round(), 0, levels - 1)


@pytest.mark.parametrize("kind", ["normal", "outlier", "shifted"])
@pytest.mark.parametrize(
    ("levels", "symmetric"), [(3, False), (4, False), (8, False), (3, True), (7, True), (15, True)]
)
def test_close_to_brute_force_and_never_worse_than_min_max(kind, levels, symmetric):
    values = rows(kind)
    scale, zero = search_rows(values, levels, symmetric=symmetric)
    assert scale.shape == zero.shape == (8, 1)
    assert (scale > 0).all()
    assert torch.equal(zero, zero.round())
    half = (levels - 1) // 2
    low, high = (-half, half) if symmetric else (0, levels - 1)
    assert ((zero >= 0) & (zero <= levels - 1)).all()
    if symmetric:
        assert (zero == 0).all()
    found = error_of(values, scale, zero, low, high)
    assert (found <= min_max(values, levels, symmetric) * (1 + 1e-5)).all()
    best = brute_force(values, levels, symmetric)
    ratio = found.sum() / best.sum()
    assert ratio < 1.05, f"search found {ratio:.3f} times the brute-force error"


def test_weights_steer_the_search():
    values, weight = rows("outlier"), torch.ones(8, 60)
    weight[:, 0] = 100.0  # the outlier is all that counts
    plain = error_of(values, *search_rows(values, 4), 0, 3, weight)
    steered = error_of(values, *search_rows(values, 4, weight=weight), 0, 3, weight)
    assert (steered <= plain * (1 + 1e-5)).all()
    assert steered.sum() < 0.5 * plain.sum()
    assert steered.sum() < 1.05 * brute_force(values, 4, False, weight).sum()


def test_values_on_a_grid_are_kept_exactly():
    codes = torch.tensor([[0.0, 1, 2, 3, 4, 5, 6, 7]])
    values = 0.13 * (codes - 3)
    scale, zero = search_rows(values, 8)
    torch.testing.assert_close(scale * ((values / scale + zero).round() - zero), values)


@pytest.mark.parametrize("symmetric", [False, True])
def test_constant_rows(symmetric):
    values = torch.stack([torch.zeros(5), torch.full((5,), 2.0), torch.full((5,), -3.0)])
    levels = 7 if symmetric else 8
    scale, zero = search_rows(values, levels, symmetric=symmetric)
    low, high = (-3, 3) if symmetric else (0, 7)
    assert torch.isfinite(scale).all()
    assert error_of(values, scale, zero, low, high).max() < 1e-9


def activation(kind):
    values = torch.randn(2000, generator=torch.Generator().manual_seed(1))
    return {"normal": values, "gelu": torch.nn.functional.gelu(values * 2), "heavy": values**3}[kind]


def rounding_error(values, step, zero, lowest, highest):
    """Mean squared error of values on a grid."""
    codes = (values / step + zero).round().clamp(lowest, highest)
    return float(((codes - zero) * step - values).square().mean())


@pytest.mark.parametrize("kind", ["gelu", "normal", "heavy"])
def test_interval_against_brute_force(kind):
    values = activation(kind)

    def error(low, high):
        step = (high - low) / 15
        return rounding_error(values, step, round(-low / step), 0, 15)

    low, high = search_interval(values, 16)
    bottom, top = float(values.min()), float(values.max())
    assert low <= 0 <= high
    steps = [step / 50 for step in range(2, 51)]
    best = min(error(bottom * a, top * b) for a in steps for b in steps)
    assert error(low, high) <= error(bottom, top)
    assert error(low, high) < 1.1 * best


SIGNED, UNSIGNED = (-8, 7), (0, 15)


@pytest.mark.parametrize(
    "samples",
    [
        [(activation("normal"), *SIGNED)],
        [(activation("heavy"), *SIGNED)],
        [(activation("gelu").relu(), *UNSIGNED)],
        [(activation("normal"), *SIGNED), (5 * activation("gelu").relu(), *UNSIGNED)],
        [(activation("heavy"), *SIGNED), (activation("normal"), *SIGNED), (torch.zeros(9), *SIGNED)],
    ],
)
def test_one_step_for_several_activations_against_brute_force(samples):
    def error(step):
        return sum(rounding_error(values, step, 0, low, high) for values, low, high in samples)

    widest = max(float(values.abs().max()) for values, _, _ in samples) / 7
    best = min(error(widest * part / 400) for part in range(4, 401))
    assert error(search_step(samples)) < 1.03 * best


def test_a_step_for_nothing():
    assert 0 < search_step([(torch.zeros(5), *SIGNED)]) < 1e-6


def test_interval_of_one_sided_and_constant_values():
    low, high = search_interval(torch.rand(500), 256)
    assert low == 0 and 0.9 < high <= 1
    low, high = search_interval(torch.zeros(10), 256)
    assert low <= 0 < high


@pytest.mark.parametrize("weighted", [False, True])
def test_pieces_change_nothing(monkeypatch, weighted):
    values, weight = rows("outlier", 7), torch.rand(1, 60) if weighted else None
    whole = search_rows(values, 8, weight=weight)
    monkeypatch.setattr("brevitas_defakeq.quant.range_search._PIECE", 130)
    for ours, theirs in zip(search_rows(values, 8, weight=weight), whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)
