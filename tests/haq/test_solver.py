"""The exact solver against every possible assignment."""

import itertools
import re
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from brevitas_defakeq.haq.constraint import Constraint, average_bits_of
from brevitas_defakeq.haq.solver import assign, monotone, solve
from brevitas_defakeq.utils.errors import UserError

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
    with pytest.raises(UserError, match=r"average_bits=2\.5.*need 3 bits on average;.*unpin"):
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
def test_300_layers_are_quick(kind, budget, pace):
    costs, sizes, candidates = problem(kind)
    start = time.process_time()
    widths = solve(costs, sizes, candidates, budget)
    assert time.process_time() - start < 20 * pace, "about one is expected"
    assert average(widths, sizes) <= budget * (1 + 1e-9)
    uniform = {name: values[1 if budget == 1.9 else 2] for name, values in costs.items()}
    if budget == 3.0:
        assert sum(costs[n][candidates.index(b)] for n, b in widths.items()) <= sum(uniform.values())


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=8))
def test_monotone(costs):
    made = monotone(costs)
    assert all(a >= b for a, b in itertools.pairwise(made))
    assert made == [max(costs[index:]) for index in range(len(costs))]


# ------------------------------------------------------------------------------------------ several budgets


def best_choice(cost, rules):
    """Every assignment: the least cost within all rules, or infinity."""
    best = INF
    for choice in itertools.product(range(cost.shape[1]), repeat=len(cost)):
        at = (range(len(cost)), choice)
        if all(rule.fixed + rule.usage[at].sum() <= rule.limit * rule.per * (1 + 1e-9) for rule in rules):
            best = min(best, cost[at].sum())
    return best


@st.composite
def several_budgets(draw):
    """Usages in any order along a row, some of them 0; limits around what is possible."""
    layers, options = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    shape = (layers, options)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = 10.0 ** draw(st.integers(0, 5))
    cost = np.exp(rng.uniform(-np.log(spread), 0, shape)) * 10.0 ** draw(st.integers(-6, 6))
    cost[rng.uniform(size=shape) < 0.2] = INF
    cost[np.arange(layers), rng.integers(0, options, layers)] = 1.0
    rules = []
    for index in range(draw(st.integers(0, 3))):
        usage = rng.integers(0, draw(st.sampled_from([2, 30, 50_000])), shape).astype(float)
        fixed = float(draw(st.sampled_from([0, 7, 1000])))
        limit = fixed + float(np.floor(usage.max() * layers * draw(st.sampled_from([0, 0.2, 0.4, 0.6, 1]))))
        rules.append(Constraint(name=f"r{index}", usage=usage, limit=limit, fixed=fixed))
    return cost, rules


@settings(deadline=None, max_examples=400)
@given(several_budgets())
def test_several_budgets_against_every_assignment(problem):
    cost, rules = problem
    best = best_choice(cost, rules)
    if best == INF:
        with pytest.raises(UserError, match="r[0-9]=.*at least|r[0-9]=.*need"):
            assign(cost, rules)
        return
    choice = assign(cost, rules)
    assert choice.shape == (len(cost),) and all(rule.met(choice) for rule in rules)
    found = cost[np.arange(len(cost)), choice].sum()
    assert found == pytest.approx(best, rel=1e-7)


def test_the_figure_named_is_the_smallest_possible():
    """The budget that the message names is met; one below it is not."""
    rng = np.random.default_rng(3)
    cost = rng.uniform(size=(5, 3))
    lut, bram = (rng.integers(10, 1000, (5, 3)).astype(float) for _ in range(2))

    def tried(lut_limit, bram_limit):
        rules = [
            Constraint(name="lut", usage=lut, limit=lut_limit, fixed=100, unit=" LUT"),
            Constraint(name="bram", usage=bram, limit=bram_limit),
        ]
        return assign(cost, rules)

    with pytest.raises(UserError, match=r"lut=10: .* need ([0-9.]+) LUT \(100 of it whatever") as caught:
        tried(10, 1e9)
    alone = float(re.search(r"need ([0-9.]+)", str(caught.value))[1])
    assert alone == 100 + lut.min(axis=1).sum()
    tried(alone, 1e9)
    tightest = bram.min(axis=1).sum()
    with pytest.raises(UserError, match="lut=.* cannot be met together with bram=") as caught:
        tried(alone, tightest)
    together = float(re.search(r"needs at least ([0-9.]+) LUT", str(caught.value))[1])
    tried(together, tightest)
    with pytest.raises(UserError):
        tried(together - 1, tightest)


def test_one_budget_in_three_is_impossible_only_with_another():
    """lut and bram contradict each other, dsp is in nobody's way: the message speaks of those two."""
    lut, bram, dsp = np.array([[1.0, 9.0]]), np.array([[9.0, 1.0]]), np.array([[0.0, 0.0]])
    rules = [
        Constraint(name="dsp", usage=dsp, limit=5),
        Constraint(name="lut", usage=lut, limit=5),
        Constraint(name="bram", usage=bram, limit=5),
    ]
    with pytest.raises(
        UserError, match=r"^lut=5 cannot be met together with bram=5, which needs at least 9;"
    ):
        assign(np.ones((1, 2)), rules)


def test_one_rule_and_the_same_rule_twice_cost_the_same():
    """The dynamic program against branch and bound, at a size that no brute force reaches."""
    costs, sizes, candidates = problem("measured", 60)
    cost = np.asarray(list(costs.values()))
    rule = average_bits_of(sizes, candidates, 2.7)
    rows = np.arange(len(cost))
    once, twice = assign(cost, [rule]), assign(cost, [rule, replace(rule, name="again")])
    assert cost[rows, once].sum() == pytest.approx(cost[rows, twice].sum(), rel=1e-9)


def test_300_layers_under_three_budgets(pace):
    costs, sizes, candidates = problem("random")
    cost = np.asarray(list(costs.values()))
    rng = np.random.default_rng(1)
    lut = rng.integers(50, 2000, (300, 1)) * np.asarray(candidates)
    bram = np.ceil(rng.integers(1, 5, (300, 1)) * np.asarray(candidates) / 2)
    start = time.process_time()
    rules = [average_bits_of(sizes, candidates, 3), Constraint(name="lut", usage=lut, limit=lut.mean() * 200),
             Constraint(name="bram", usage=bram, limit=bram.mean() * 250)]  # fmt: skip
    choice = assign(cost, rules)
    assert time.process_time() - start < 300 * pace, "about 30 are expected"
    assert all(rule.met(choice) for rule in rules)
    # The linear relaxation is a bound from below; at most one layer a rule is split in its optimum.
    relaxed = linear_bound(cost, rules)
    assert relaxed <= cost[np.arange(300), choice].sum() <= relaxed * 1.02


def linear_bound(cost, rules):
    layers, options = cost.shape
    rows = np.array([rule.usage.ravel() for rule in rules])
    solved = linprog(
        cost.ravel(), A_ub=rows, b_ub=[rule.available for rule in rules],
        A_eq=np.kron(np.eye(layers), np.ones(options)), b_eq=np.ones(layers), bounds=(0, 1),
    )  # fmt: skip
    return solved.fun
