"""``quantize`` within what a chip has: from the command's options to the report."""

import json
from dataclasses import replace

import pytest

from brevitas_defakeq import UserError, load, quantize
from brevitas_defakeq.budget_search import quantize_within

SHAPES = {
    "stem.0": (8, 3, 3, 3), "stem.3": (16, 8, 3, 3), "block.attn.qkv": (48, 16), "block.attn.proj": (16, 16),
    "block.mlp.fc1": (32, 16), "block.mlp.fc2": (16, 32), "head": (1, 16),
}  # fmt: skip
#: Of the table that ``hardware_costs`` makes: 50 + 7 x 100 LUT, and 10 + 7 i LUT a bit for layer i.
FIXED, PER_BIT = 750, [10 + 7 * index for index in range(7)]


def lut_of(bits):
    return FIXED + sum(rate * bits[name] for rate, name in zip(PER_BIT, SHAPES, strict=True))


@pytest.fixture
def costs(tmp_path, hardware_costs):
    (tmp_path / "costs.json").write_text(json.dumps(hardware_costs(SHAPES)))
    return tmp_path / "costs.json"


@pytest.fixture
def chip(workplace, hardware_costs):
    """A working folder with ``costs.json``, and ``other.json`` of another network."""
    (workplace.folder / "costs.json").write_text(json.dumps(hardware_costs(SHAPES)))
    (workplace.folder / "other.json").write_text(json.dumps(hardware_costs({"conv": (4, 3, 3, 3)})))
    return workplace


def test_the_command(chip, tiny):
    outcome = chip.quantize("--budget", "lut=1400,dsp=4", "--costs", "costs.json", "--json", iterations=0)
    assert outcome.status == 0, outcome.errors
    report = outcome.json()
    assert report["budget"] == {"lut": 1400, "dsp": 4}
    estimated = report["hardware"]["estimated"]
    assert estimated["lut"] == lut_of(report["bits"]) <= 1400
    assert estimated["dsp"] == sum(width >= 4 for width in report["bits"].values()) <= 4
    assert report["hardware"]["board"] == "made up" and report["hardware"]["fps"] == 100
    assert "estimated on made up: lut 1,3" in outcome.errors
    assert json.loads((chip.folder / "run" / "report.json").read_text()) == report
    run = load(chip.folder / "run", tiny.model())
    assert run.config.budget == {"lut": 1400, "dsp": 4} and run.config.average_bits is None


def test_budgets_may_be_repeated_and_joined_by_average_bits(chip):
    budgets = ("--budget", "lut=1500", "--budget", "bram=11", "--average-bits", 2.5)
    outcome = chip.quantize(*budgets, "--costs", "costs.json", "--json", iterations=0)
    assert outcome.status == 0, outcome.errors
    report = outcome.json()
    assert report["budget"] == {"lut": 1500, "bram": 11, "average_bits": 2.5}
    assert report["average_bits"] <= 2.5 and report["hardware"]["estimated"]["bram"] <= 11


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--budget", "lut=1400"), "go together; give costs"),
        (("--costs", "costs.json"), "go together; give a budget such as lut=40000"),
        (
            ("--budget", "luts=1", "--costs", "costs.json"),
            "--budget luts: choose one of lut, bram, dsp, cycles",
        ),
        (("--budget", "lut", "--costs", "costs.json"), "--budget 'lut': give NAME=NUMBER, as in lut=40000"),
        (("--budget", "lut=many", "--costs", "costs.json"), "--budget 'lut=many': give NAME=NUMBER"),
        (("--budget", "lut=-5", "--costs", "costs.json"), "budget lut=-5.0: must be a finite number"),
        (("--budget", "lut=nan", "--costs", "costs.json"), "budget lut=nan"),
        (("--budget", "lut=1", "--budget", "lut=2", "--costs", "costs.json"), "--budget lut is given twice"),
        (("--budget", "lut=1400", "--costs", "other.json"), "not of this detector: they lack layer stem.0"),
        (("--budget", "lut=1400", "--costs", "nowhere.json"), "nowhere.json does not exist; give what"),
        (("--budget", "lut=1400", "--costs", "tiny_detector.py"), "tiny_detector.py is not readable JSON"),
        (("--budget", "lut=900", "--costs", "costs.json"), f"need {FIXED + 2 * sum(PER_BIT)} LUT"),
        (
            (
                "--budget",
                "lut=1400",
                "--costs",
                "costs.json",
                "--max-auc-drop",
                0.1,
                "--validation",
                "others",
            ),
            "takes the place of any budget",
        ),
    ],
)
def test_the_command_refuses(chip, options, message):
    outcome = chip.quantize(*options, out="new", iterations=0)
    assert outcome.status == 2 and outcome.output == ""
    assert message in outcome.one_line()


def test_other_costs_are_another_run(chip, hardware_costs):
    """The costs decide the widths: a folder begun with others is not gone on with."""
    options = ("--budget", "lut=1400", "--costs", "costs.json")
    assert chip.quantize(*options, iterations=0).status == 0
    (chip.folder / "costs.json").write_text(json.dumps(hardware_costs(SHAPES, rates=(90.0,))))
    said = chip.quantize(*options, iterations=0).one_line()
    assert said.startswith("run holds a run with another configuration")


def test_a_lut_budget_spends_its_bits_where_they_are_cheap(tiny, images, quick_config, costs):
    """Within the LUTs of a run at 3 bits on average, other widths: more of them where a bit takes little."""
    options = {"reconstruction__iterations": 0, "final__steps": 0}
    plain = quantize(tiny.model(), images, quick_config(average_bits=3, **options))
    budget = lut_of(plain.bits)
    chip = quantize(
        tiny.model(), images, quick_config(average_bits=None, budget={"lut": budget}, **options), costs=costs
    )
    assert lut_of(chip.bits) <= budget and chip.bits != plain.bits
    assert chip.bits["stem.0"] >= plain.bits["stem.0"], "the layer with the cheapest bits"
    assert chip.report["metrics"].keys() >= {"float", "round_to_nearest", "quantized"}


def test_without_haq(tiny, images, quick_config, costs):
    options = {"reconstruction__iterations": 0, "final__steps": 0, "haq__enabled": False}
    settings = quick_config(budget={"lut": FIXED + 3.5 * sum(PER_BIT)}, **options)
    assert set(quantize(tiny.model(), images, settings, costs=costs).bits.values()) == {3.0}


def test_other_settings_that_do_not_go_with_it(tiny, images, quick_config, costs):
    settings = quick_config(budget={"lut": 1400})
    with pytest.raises(UserError, match="max_auc_drop looks for the smallest average_bits"):
        quantize_within(tiny.model(), images, settings, max_auc_drop=0.1, validation="anything")
    with pytest.raises(UserError, match="go together; give costs"):
        quantize(tiny.model(), images, settings)
    with pytest.raises(UserError, match="9 is not one of"):
        pinned = replace(settings, haq=replace(settings.haq, pinned={"head": 9}))
        quantize(tiny.model(), images, pinned, costs=costs)
