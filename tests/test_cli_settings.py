"""--config on the command line: a run's config.json gives the run again, options override a file."""

import json
import shutil

import pytest


@pytest.fixture
def inherited(finished, workplace):
    """A new working folder with the checkpoint and the configuration of a finished run."""
    for name in ("tiny.pth", "run/config.json"):
        (workplace.folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(finished.folder / name, workplace.folder / name)
    (workplace.folder / "run").rename(workplace.folder / "first")
    return workplace


def settings(workplace, run="run"):
    return json.loads((workplace.folder / run / "config.json").read_text())["config"]


def test_a_runs_configuration_gives_the_run_again(inherited, finished):
    """Byte for byte, though the first was asked for by options."""
    outcome = inherited(
        "quantize", "tiny_detector:build", "--weights", "tiny.pth", "--calibration", "faces", "--config",
        "first/config.json", "--out", "run",
    )  # fmt: skip
    assert outcome.status == 0 and outcome.errors == "", outcome.errors
    assert settings(inherited) == settings(finished)
    for name in ("weights.safetensors", "mixed.safetensors"):
        assert (inherited.folder / "run" / name).read_bytes() == (finished.folder / "run" / name).read_bytes()


def test_options_override_the_file(workplace):
    (workplace.folder / "mine.toml").write_text(
        "seed = 5\nsamples = 16\naverage_bits = 2.5\nactivation_bits = 6\nrecipe = 'paper'\n"
        "candidate_bits = [2, 4]\nkeep_float = ['head']\n"
        "[haq]\nrelaxed_steps = 20\n[reconstruction]\niterations = 1\n"
    )
    outcome = workplace(
        "quantize", "tiny_detector:build", "--calibration", "faces", "--out", "run", "--config", "mine.toml",
        "--samples", 12, "--sensitivity", "taylor", "--activation-bits", 0, "--keep-float", "stem.0",
    )  # fmt: skip
    assert outcome.status == 0, outcome.errors
    found = settings(workplace)
    expected = {"seed": 5, "samples": 12, "average_bits": 2.5, "activation_bits": None, "recipe": "paper",
                "candidate_bits": [2, 4], "keep_float": ["stem.0"]}  # fmt: skip
    assert {key: found[key] for key in expected} == expected
    assert found["haq"]["sensitivity"] == "taylor" and found["haq"]["relaxed_steps"] == 20
    assert found["reconstruction"]["iterations"] == 1 and found["veft"]["enabled"], "the paper's"


def test_inspect_takes_it_too(workplace):
    (workplace.folder / "mine.toml").write_text("average_bits = 4.5\nkeep_float = ['stem.*']\n")
    found = workplace("inspect", "tiny_detector:build", "--config", "mine.toml", "--json").json()
    assert found["average_bits"] == 4.5
    assert found["left_float"] == dict.fromkeys(("stem.0", "stem.3"), "kept float by --keep-float")
    found = workplace(
        "inspect", "tiny_detector:build", "--config", "mine.toml", "--average-bits", 3, "--json"
    ).json()
    assert found["average_bits"] == 3


def test_another_detector_or_other_preprocessing_is_said(inherited):
    outcome = inherited("inspect", "tiny_detector:build", "--config", "first", "--std", 0.3, "--json")
    assert outcome.status == 0
    assert "first is of a run with another preprocessing, which --config does not take over" in (
        outcome.errors
    )
    assert "another detector" not in outcome.errors
    arguments = ("--config", "first", "--model-arg", "head=two", "--json")
    assert "another detector" in inherited("inspect", "tiny_detector:build", *arguments).errors


def test_refusals(inherited):
    inspect = ("inspect", "tiny_detector:build", "--config")
    outcome = inherited(*inspect, "first", "--recipe", "paper")
    assert outcome.status == 2
    assert outcome.one_line() == "first holds recipe 'best', --recipe says paper; leave one of them out"
    (inherited.folder / "mine.toml").write_text("sampels = 8")
    said = inherited(*inspect, "mine.toml").one_line()
    assert said == "mine.toml: configuration: unknown field sampels in DefakeQConfig; did you mean samples?"
