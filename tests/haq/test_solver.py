"""The exact solver against every possible assignment."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brevitas_defakeq.errors import UserError
from brevitas_defakeq.haq.solver import monotone, solve

INF = float("inf")


def average(widths, sizes):
    return sum(widths[name] * sizes[name] for name in sizes) / sum(sizes.values())


def brute_force(costs, sizes, candidates, budget):
    names, best = list(costs), INF
    for choice in itertools.product(range(len(candidates)), repeat=len(names)):
        bits = sum(candidates[c] * sizes[name] for c, name in zip(choice, names, strict=True))
        if bits <= budget * sum(sizes.values()) * (1 + 1e-9):
            best = min(best, sum(costs[name][c] for c, name in zip(choice, names, strict=True)))
    return best


@st.composite
def problems(draw):
    candidates = sorted(draw(st.sets(st.sampled_from([1.6, 2, 3, 4, 6, 8]), min_size=1, max_size=4)))
    count = draw(st.integers(1, 5))
    sizes, costs = {}, {}
    whole = draw(st.booleans())  # whole costs make ties
    for index in range(count):
        name = f"layer{index}"
        sizes[name] = draw(st.sampled_from([1, 5, 5, 48, 100, 997, 100_000]))
        value = st.integers(0, 4) if whole else st.floats(0, 1e3)
        raw = draw(st.lists(value, min_size=len(candidates), max_size=len(candidates)))
        costs[name] = monotone(raw)
        if draw(st.integers(0, 4)) == 0:  # pinned
            kept = draw(st.integers(0, len(candidates) - 1))
            costs[name] = [cost if i == kept else INF for i, cost in enumerate(costs[name])]
    return costs, sizes, candidates, draw(st.floats(1.5, 8.5))


@settings(deadline=None, max_examples=400)
@given(problems())
def test_against_every_assignment(problem):
    costs, sizes, candidates, budget = problem
    best = brute_force(costs, sizes, candidates, budget)
    if best == INF:
        with pytest.raises(UserError, match="average_bits"):
            solve(costs, sizes, candidates, budget)
        return
    widths = solve(costs, sizes, candidates, budget)
    assert list(widths) == list(costs)
    assert set(widths.values()) <= set(map(float, candidates))
    assert average(widths, sizes) <= budget * (1 + 1e-8)
    found = sum(costs[name][candidates.index(width)] for name, width in widths.items())
    assert found <= best + 1e-9 * max(1.0, abs(best))


def test_one_layer_that_must_take_its_smallest_width():
    """The first multiplier tried is a tie between the widths; its wrong side lost the only solution."""
    assert solve({"a": [348.5, 0.8125]}, {"a": 5}, (1.6, 3), 2.0) == {"a": 1.6}


def test_by_hand_with_ternary():
    costs = {"a": [9.0, 5.0, 0.0], "b": [9.0, 1.0, 0.0], "c": [9.0, 8.0, 7.0]}
    sizes = {"a": 10, "b": 10, "c": 10}
    # 7.2 bits in all: 4 + 1.6 + 1.6 would cost 18, three times 2 costs 14
    assert solve(costs, sizes, (1.6, 2, 4), 2.4) == {"a": 2.0, "b": 2.0, "c": 2.0}
    # 7.6 bits in all: 4 + 2 + 1.6 costs 10
    assert solve(costs, sizes, (1.6, 2, 4), 7.6 / 3) == {"a": 4.0, "b": 2.0, "c": 1.6}


@pytest.mark.parametrize("budget", [1.6, 2.0, 3.0, 8.0])
def test_a_budget_met_exactly_is_allowed(budget):
    """1.6 is no binary fraction; 300 layers of it must still fit an average of 1.6."""
    sizes = {f"l{index}": 7 * index + 3 for index in range(300)}
    costs = {name: [3.0, 2.0, 1.0, 0.0] for name in sizes}
    widths = solve(costs, sizes, (1.6, 2, 3, 8), budget)
    assert average(widths, sizes) <= budget * (1 + 1e-9)
    if budget == 1.6:
        assert set(widths.values()) == {1.6}
    if budget == 8.0:
        assert set(widths.values()) == {8.0}


def test_an_impossible_budget_names_the_least_average():
    costs = {"a": [2.0, 1.0], "b": [INF, 1.0]}
    with pytest.raises(UserError, match=r"average_bits=2\.5.*3\.000 bits.*unpin"):
        solve(costs, {"a": 10, "b": 10}, (2, 4), 2.5)


def problem(kind, layers=300):
    rng = np.random.default_rng(0)
    sizes = rng.integers(100, 3_000_000, layers)
    scores = rng.lognormal(0, 2, layers)
    if kind == "transformer":  # many equal sizes
        sizes = rng.choice([192 * 192, 3 * 192 * 192, 4 * 192 * 192], layers)
    if kind == "equal":
        scores = np.ones(layers)
    candidates = (1.6, 2, 3, 4, 6, 8)
    costs = {f"l{i}": [score * 4.0**-bits for bits in candidates] for i, score in enumerate(scores)}
    if kind == "measured":
        noisy = rng.lognormal(0, 1, (layers, len(candidates)))
        costs = {
            name: monotone(np.asarray(values) * noise)
            for (name, values), noise in zip(costs.items(), noisy, strict=True)
        }
    return costs, {f"l{i}": int(size) for i, size in enumerate(sizes)}, candidates


@pytest.mark.parametrize("kind", ["random", "transformer", "equal", "measured"])
@pytest.mark.parametrize("budget", [1.9, 3.0])
def test_300_layers_take_less_than_a_second(kind, budget):
    costs, sizes, candidates = problem(kind)
    start = time.process_time()
    widths = solve(costs, sizes, candidates, budget)
    assert time.process_time() - start < 1.0
    assert average(widths, sizes) <= budget * (1 + 1e-9)
    uniform = {name: values[1 if budget == 1.9 else 2] for name, values in costs.items()}
    if budget == 3.0:
        assert sum(costs[n][candidates.index(b)] for n, b in widths.items()) <= sum(uniform.values())


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=8))
def test_monotone(costs):
    made = monotone(costs)
    assert all(a >= b for a, b in itertools.pairwise(made))
    assert made == [max(costs[index:]) for index in range(len(costs))]
