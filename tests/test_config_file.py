"""Settings from files: TOML, JSON and a run's config.json, on top of the recipe's values."""

import json
from pathlib import Path

import pytest

from brevitas_defakeq.config import DefakeQConfig
from brevitas_defakeq.config_file import config_from, read_settings
from brevitas_defakeq.utils.errors import UserError


def read(path: Path, content: str | dict) -> DefakeQConfig:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return config_from(read_settings(path), path)


TOML = """
recipe = "paper"
average_bits = 2.25
candidate_bits = [1.6, 2, 4]
activation_bits = 0            # float
keep_float = ["srm", "stem.*"]
[haq]
sensitivity = "taylor"
pinned = {head = 8}
[reconstruction]
beta = [18, 3]
"""


def test_toml(tmp_path):
    config = read(tmp_path / "mine.toml", TOML)
    paper = DefakeQConfig.for_recipe("paper")
    assert config.average_bits == 2.25 and config.candidate_bits == (1.6, 2, 4)
    assert config.activation_bits is None and config.keep_float == ("srm", "stem.*")
    assert config.haq.sensitivity == "taylor" and config.haq.error_base == 2.0, "the rest is the recipe's"
    assert config.haq.pinned == {"head": 8} and config.reconstruction.beta == (18, 3)
    assert config.veft == paper.veft and config.final == paper.final
    assert config.reconstruction.matching == "none"


@pytest.mark.parametrize("recipe", ["best", "paper"])
def test_a_whole_configuration_comes_back(tmp_path, recipe, quick_config):
    config = quick_config(recipe=recipe, average_bits=2.5, keep_float=("head",), haq__pinned={"stem": 4})
    assert read(tmp_path / "all.json", config.to_dict()) == config
    run = {"format_version": 1, "config": config.to_dict(), "plan": {}}
    assert read(tmp_path / "config.json", run) == config
    assert config_from(read_settings(tmp_path)) == config, "a run folder stands for its config.json"


def test_a_chips_budget_alone_has_no_average(tmp_path):
    assert read(tmp_path / "chip.toml", "budget = {lut = 40000}").average_bits is None
    both = read(tmp_path / "chip.toml", "average_bits = 3\nbudget = {lut = 40000}")
    assert both.average_bits == 3 and both.budget == {"lut": 40000}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("avarage_bits = 3", "unknown field avarage_bits in DefakeQConfig; did you mean average_bits?"),
        (
            "iterations = 9",
            "unknown field iterations in DefakeQConfig; did you mean reconstruction.iterations?",
        ),
        ("[haq]\nsenstivity = 'haq'", "unknown field senstivity in HAQConfig; did you mean sensitivity?"),
        ("[haq]\nseed = 3", "unknown field seed in HAQConfig; did you mean seed?"),
        ("[final]\nqqq = 3", "unknown field qqq in FinalPassConfig$"),
        ("samples = 'many'", "samples in DefakeQConfig is 'many'; give a whole number"),
        ("samples = 12.5", "samples in DefakeQConfig is 12.5; give a whole number"),
        ("samples = true", "samples in DefakeQConfig is True; give a whole number"),
        ("average_bits = '3'", "average_bits in DefakeQConfig is '3'; give a number or null"),
        ("candidate_bits = 4", "candidate_bits in DefakeQConfig is 4; give a list of numbers"),
        ("candidate_bits = ['4']", "give a list of numbers"),
        ("keep_float = 'srm'", "keep_float in DefakeQConfig is 'srm'; give a list of texts"),
        ("haq = 3", "haq in DefakeQConfig is 3; give a table of its own"),
        ("[haq]\npinned = {head = 'x'}", "pinned in HAQConfig is {'head': 'x'}; give a table of numbers"),
        ("[veft]\nenabled = 1", "enabled in VEFTConfig is 1; give true or false"),
        ("[reconstruction]\nbeta = [1]", "beta in ReconstructionConfig is .*; give a list of numbers"),
        ("recipe = 'quick'", "recipe='quick': choose one of best, paper"),
        ("target = 'phone'", "target='phone': choose one of any, mobile, fpga"),
        ("average_bits = 1.0", "average_bits=1.0 lies below the smallest candidate"),
        ("average_bits = ", "is no TOML"),
    ],
)
def test_what_is_wrong_is_said_in_a_line_with_the_file(tmp_path, content, message):
    with pytest.raises(UserError, match=f"mine.toml.*{message}") as caught:
        read(tmp_path / "mine.toml", content)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_settings(tmp_path):
    for name, content, message in (
        ("a.json", "{", "a.json is no JSON"), ("b.json", "[1]", "b.json holds no fields"),
        ("c.toml", "\xff\xfe", "c.toml is no TOML"), ("d.toml", None, "d.toml cannot be read: No such file"),
    ):  # fmt: skip
        if content is not None:
            (tmp_path / name).write_text(content, encoding="latin-1")
        with pytest.raises(UserError, match=message) as caught:
            read_settings(tmp_path / name)
        assert "\n" not in str(caught.value)
