"""Budgets of a chip: the file of costs, read and checked; widths against every assignment."""

import itertools
import json

import numpy as np
import pytest

from brevitas_defakeq.config import DefakeQConfig, HAQConfig
from brevitas_defakeq.haq.hardware_costs_file import open_costs, read_costs
from brevitas_defakeq.haq.hardware_widths import hardware_estimate, hardware_widths, uniform_hardware_width
from brevitas_defakeq.utils.errors import UserError

SHAPES = {"first": (8, 3, 3, 3), "second": (16, 8, 3, 3), "head": (1, 16)}
SIZES = {name: int(np.prod(shape)) for name, shape in SHAPES.items()}
CANDIDATES = (1.6, 2, 3, 4, 8)
#: What the widths cost the detector; falling, at its own pace in every layer.
LOSS = {
    name: [score * 3.0**-bits for bits in CANDIDATES]
    for name, score in zip(SHAPES, (1.0, 40.0, 6.0), strict=True)
}


@pytest.fixture
def written(tmp_path, hardware_costs):
    """``written(change, **options)``: a file of costs, changed before it is written."""

    def write(change=lambda content: None, **options):
        content = hardware_costs(SHAPES, **options)
        change(content)
        (tmp_path / "costs.json").write_text(json.dumps(content))
        return tmp_path / "costs.json"

    return write


def config(**values):
    return DefakeQConfig(candidate_bits=CANDIDATES, **values)


def totals_by_hand(content, table, bits):
    """LUT, BRAM and DSP added up, the slowest part's cycles, from the JSON itself."""
    at = {name: content["bits"].index(2 if width == 1.6 else width) for name, width in bits.items()}
    layers, fixed = table["layers"], table["fixed"]
    total = {
        name: fixed[name] + sum(layers[layer][name][at[layer]] for layer in bits)
        for name in ("lut", "bram", "dsp")
    }
    slowest = max(layers[layer]["cycles"][at[layer]] for layer in bits)
    return {**total, "cycles": max(fixed["cycles"], slowest)}


def best_by_hand(content, budget, average=None):
    """The least loss of every assignment at every rate that keeps the budgets."""
    best = np.inf
    for table in content["tables"]:
        for choice in itertools.product(range(len(CANDIDATES)), repeat=len(SHAPES)):
            bits = {name: CANDIDATES[at] for name, at in zip(SHAPES, choice, strict=True)}
            totals = totals_by_hand(content, table, bits)
            mean = sum(bits[name] * SIZES[name] for name in SIZES) / sum(SIZES.values())
            if all(totals[name] <= limit for name, limit in budget.items()) and mean <= (average or np.inf):
                best = min(best, sum(LOSS[name][at] for name, at in zip(SHAPES, choice, strict=True)))
    return best


BUDGETS = [
    {"lut": 500}, {"lut": 560}, {"lut": 700}, {"bram": 6}, {"dsp": 1}, {"dsp": 0}, {"lut": 600, "bram": 6},
    {"lut": 620, "dsp": 1, "bram": 7}, {"cycles": 10_000}, {"lut": 650, "cycles": 6000},
    {"lut": 1e6, "cycles": 1000},
]  # fmt: skip


@pytest.mark.parametrize("rates", [(100.0,), (1000.0, 100.0, 200.0)])
@pytest.mark.parametrize("average", [None, 2.6])
@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_widths_against_every_assignment(written, budget, average, rates):
    file = written(rates=rates)
    content, costs = json.loads(file.read_text()), read_costs(file)
    best = best_by_hand(content, budget, average)
    asked = config(budget=budget, average_bits=average)
    if best == np.inf:
        with pytest.raises(UserError):
            hardware_widths(LOSS, SIZES, asked, costs)
        return
    bits = hardware_widths(LOSS, SIZES, asked, costs)
    assert list(bits) == list(SHAPES)
    found = sum(LOSS[name][CANDIDATES.index(width)] for name, width in bits.items())
    assert found == pytest.approx(best, rel=1e-9)
    estimate = hardware_estimate(bits, SIZES, asked, costs)
    (table,) = [table for table in content["tables"] if table["fps"] == estimate["fps"]]
    assert estimate["estimated"] == pytest.approx(totals_by_hand(content, table, bits))
    assert all(estimate["estimated"][name] <= limit for name, limit in budget.items())
    faster = [table for table in content["tables"] if table["fps"] > estimate["fps"]]
    for table in faster:
        over = totals_by_hand(content, table, bits)
        assert any(over[name] > limit for name, limit in budget.items()), "the fastest rate that fits"


def test_some_budget_is_possible_and_some_is_not(hardware_costs):
    """Otherwise the test above would say little."""
    content = hardware_costs(SHAPES)
    possible = [best_by_hand(content, budget) < np.inf for budget in BUDGETS]
    assert sum(possible) >= 7 and possible.count(False) >= 2
    losses = {best_by_hand(content, budget) for budget in BUDGETS}
    assert len(losses) >= 7, "the budgets bind"


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        # fixed 50, three layers of 100, and 2 bits times 10 + 17 + 24
        ({"lut": 400}, r"^at 100 frames a second, lut=400: .* need 452 LUT \(50 of it whatever the widths\)"),
        ({"bram": 1}, r"bram=1: .* need 6 BRAM18"),
        ({"cycles": 5000}, r"^cycles=5000: the slowest part takes 10000 cycles a frame .* higher --fps"),
    ],
)
def test_the_smallest_figure_is_named(written, budget, message):
    costs = read_costs(written())
    with pytest.raises(UserError, match=message) as caught:
        hardware_widths(LOSS, SIZES, config(budget=budget), costs)
    assert "\n" not in str(caught.value)


def test_a_pinned_layer_counts_at_its_own_width(written):
    costs = read_costs(written())
    pinned = {**LOSS, "second": [np.inf] * 4 + [0.0]}
    assert hardware_widths(pinned, SIZES, config(budget={"lut": 1e6}), costs)["second"] == 8
    with pytest.raises(UserError, match=r"need 554 LUT"):  # 17 LUT for each of six bits more
        hardware_widths(pinned, SIZES, config(budget={"lut": 500}), costs)


def test_without_haq_the_widest_uniform_width_that_fits(written):
    costs = read_costs(written())
    # 350 LUT and 51 a bit
    assert uniform_hardware_width(SIZES, config(budget={"lut": 350 + 3.9 * 51}), costs) == 3
    assert uniform_hardware_width(SIZES, config(budget={"lut": 350 + 4 * 51}), costs) == 4
    both = config(budget={"lut": 1e6}, average_bits=2.9)
    assert uniform_hardware_width(SIZES, both, costs) == 2
    pinned = config(budget={"lut": 350 + 4 * 51}, haq=HAQConfig(pinned={"second": 8}))
    assert uniform_hardware_width(SIZES, pinned, costs) == 2
    with pytest.raises(UserError, match="a uniform 1.6 bits needs lut=452"):
        uniform_hardware_width(SIZES, config(budget={"lut": 400}), costs)


# ------------------------------------------------------------------------------------------ the file


def damage(content, where, value):
    *path, last = where
    for key in path:
        content = content[key]
    content[last] = value


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (["tables", 0, "layers", "head", "lut", 0], -1.0), (["tables", 0, "fixed", "bram"], -3),
        (["tables", 0, "layers", "head", "lut", 0], "many"), (["tables", 0, "layers", "head", "dsp"], [1.0]),
        (["tables", 0, "fixed", "lut"], float("nan")), (["tables", 0, "fixed", "dsp"], float("inf")),
        (["tables", 0, "fixed", "lut"], True), (["tables", 0, "fixed"], {}), (["tables"], []),
        (["tables", 0, "layers"], {}), (["bits"], [3, 2]), (["bits"], None), (["layers", "head"], {}),
    ],
)  # fmt: skip
def test_damaged_files_are_refused(written, where, value):
    path = written(lambda content: damage(content, where, value))
    with pytest.raises(UserError, match=r"costs.json is damaged .*; write it again with `hw/costs.py`"):
        read_costs(path)


def test_files_of_another_kind_are_refused(tmp_path):
    other = tmp_path / "report.json"
    other.write_text('{"format_version": 1, "auc": 0.9}')
    with pytest.raises(UserError, match="report.json is no table of costs of format 1"):
        read_costs(other)
    with pytest.raises(UserError, match=r"nowhere.json does not exist; give what `hw/costs.py` wrote"):
        read_costs(tmp_path / "nowhere.json")


def test_costs_and_a_budget_go_together(written):
    assert open_costs(None, {}) is None
    assert open_costs(written(), {"lut": 5}).bits == (2, 3, 4, 5, 6, 7, 8)
    with pytest.raises(UserError, match="go together; give costs"):
        open_costs(None, {"lut": 5})
    with pytest.raises(UserError, match="go together; give a budget"):
        open_costs(written(), {})


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({**SHAPES, "extra": (4, 4)}, "they lack layer extra"),
        ({"first": SHAPES["first"], "second": SHAPES["second"]}, "they hold a layer head that it has not"),
        ({**SHAPES, "head": (2, 16)}, r"they hold head with a weight of shape \[1, 16\], it has \[2, 16\]"),
    ],
)
def test_costs_of_another_network_are_refused(written, shapes, message):
    with pytest.raises(UserError, match=f"the costs are not of this detector: {message}; write them"):
        read_costs(written()).of_layers(shapes, (2, 4))


def test_products_of_one_layer_are_added_up(written, hardware_costs):
    """q, k and v are rows of one layer; a layer that is called twice is built twice; groups become dense."""

    def split(content):
        made = hardware_costs({
            "attn.q": (16, 16), "attn.k": (16, 16), "attn.v": (16, 16), "twice": (8, 4), "twice.2": (8, 4),
            "groups": (8, 8, 3, 3),
        })  # fmt: skip
        content.clear()
        content.update(made)

    costs = read_costs(written(split))
    shapes = {"attn": (48, 16), "twice": (8, 4), "groups": (8, 2, 3, 3)}
    merged = costs.of_layers(shapes, (2, 8))
    assert merged.shapes == shapes and merged.digest == costs.digest
    raw, (table,) = costs.tables[0].layers, merged.tables
    for at, _ in enumerate(costs.bits):
        for name in ("lut", "bram", "dsp"):
            assert table.layers["attn"][name][at] == sum(raw[f"attn.{part}"][name][at] for part in "qkv")
            assert table.layers["twice"][name][at] == raw["twice"][name][at] + raw["twice.2"][name][at]
            assert table.layers["groups"][name][at] == raw["groups"][name][at]
        assert table.layers["attn"]["cycles"][at] == raw["attn.q"]["cycles"][at], "the slowest of them"
    for wrong in (
        {**shapes, "attn": (47, 16)},
        {**shapes, "twice": (7, 4)},
        {**shapes, "groups": (8, 3, 3, 3)},
    ):
        with pytest.raises(UserError, match="not of this detector"):
            costs.of_layers(wrong, (2, 8))


def test_a_width_without_costs_is_refused(written):
    costs = read_costs(written(bits=(2, 4, 8)))
    costs.of_layers(SHAPES, (1.6, 2, 4, 8))
    with pytest.raises(UserError, match="the costs have no width 3, only 2, 4, 8"):
        costs.of_layers(SHAPES, (2, 3))
