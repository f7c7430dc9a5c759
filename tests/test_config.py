"""The configuration: values checked when made, JSON both ways, the two recipes and the ablations."""

import json
from dataclasses import FrozenInstanceError, asdict, fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brevitas_defakeq.config import (
    DefakeQConfig,
    FinalPassConfig,
    HAQConfig,
    ReconstructionConfig,
    VEFTConfig,
    without_haq,
    without_veft,
)
from brevitas_defakeq.config_file import config_from
from brevitas_defakeq.utils.errors import UserError

STAGES = {
    "haq": HAQConfig,
    "veft": VEFTConfig,
    "reconstruction": ReconstructionConfig,
    "final": FinalPassConfig,
}

# -------------------------------------------------------------------------------- JSON


def through_json(config):
    return DefakeQConfig.from_dict(json.loads(json.dumps(config.to_dict())))


@pytest.mark.parametrize("recipe", ["best", "paper"])
def test_recipes_survive_json(recipe):
    config = DefakeQConfig.for_recipe(recipe)
    assert through_json(config) == config


def test_every_changed_value_survives_json():
    config = DefakeQConfig(
        average_bits=2.25, candidate_bits=(1.6, 2, 4), activation_bits=None, recipe="paper", target="mobile",
        samples=64, held_out=0.25, seed=7, mixed_channel_bits=32,
        haq=HAQConfig(enabled=False, sensitivity="taylor", pinned={"head": 8}),
        reconstruction=ReconstructionConfig(matching="regression", beta=(18.0, 3.0), block_input="float"),
        veft=VEFTConfig(enabled=True, masks="fixed", negatives="quantized", alignment="detector"),
        final=FinalPassConfig(steps=3, loss="contrastive"),
    )  # fmt: skip
    again = through_json(config)
    assert again == config
    assert isinstance(again.candidate_bits, tuple) and isinstance(again.reconstruction.beta, tuple)
    assert again.haq.pinned == {"head": 8}


@settings(deadline=None, max_examples=40)
@given(
    average=st.floats(2, 8), seed=st.integers(0, 2**31), samples=st.integers(8, 4096),
    candidates=st.sets(st.sampled_from((2, 3, 4, 5, 6, 7, 8)), min_size=1),
)  # fmt: skip
def test_any_valid_configuration_survives_json(average, seed, samples, candidates):
    average = max(average, min(candidates))
    config = DefakeQConfig(average_bits=average, seed=seed, samples=samples, candidate_bits=tuple(candidates))
    assert through_json(config) == config


@pytest.mark.parametrize("average", [None, 2.5])
def test_a_chips_budget_survives_json(average):
    config = DefakeQConfig(average_bits=average, budget={"lut": 40000, "bram": 0})
    assert config.average_bits == average, "no bound on the average unless it is asked for"
    assert through_json(config) == config and through_json(config).budget == {"lut": 40000, "bram": 0}


def test_average_bits_are_the_default_budget():
    assert DefakeQConfig().average_bits == 3.0 and DefakeQConfig(average_bits=None).average_bits == 3.0
    assert DefakeQConfig().budget == {}


def test_what_is_left_out_has_its_default():
    assert DefakeQConfig.from_dict({}) == DefakeQConfig()
    assert (
        DefakeQConfig.from_dict({"haq": {"sensitivity": "measured"}}).haq.error_base == HAQConfig().error_base
    )


@pytest.mark.parametrize(("written", "kind"), [(True, "moments"), (False, "none"), ("none", "none")])
def test_matching_was_true_or_false_in_earlier_files(written, kind):
    values = {"reconstruction": {"matching": written, "iterations": 7}}
    found = DefakeQConfig.from_dict(values).reconstruction
    assert found == ReconstructionConfig(matching=kind, iterations=7)
    assert config_from(values).reconstruction.matching == kind, "a settings file too"
    assert values["reconstruction"]["matching"] is written


@pytest.mark.parametrize(
    ("data", "where"),
    [
        ({"avarage_bits": 3}, "avarage_bits in DefakeQConfig"),
        ({"haq": {"lambda": 1}}, "lambda in HAQConfig"),
        ({"veft": {"tau": 0.07}}, "tau in VEFTConfig"),
        ({"reconstruction": {"steps": 5}}, "steps in ReconstructionConfig"),
        ({"final": {"iterations": 5}}, "iterations in FinalPassConfig"),
    ],
)
def test_unknown_fields_are_refused_by_name(data, where):
    with pytest.raises(UserError, match=f"unknown field {where}"):
        DefakeQConfig.from_dict(data)


# -------------------------------------------------------------------------------- validation


def refused(match, make, /, **values):
    with pytest.raises(UserError, match=match) as caught:
        make(**values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"candidate_bits": (2, 9)}, "9 is not one of"),
        ({"candidate_bits": (1, 2)}, "1 is not one of"),
        ({"candidate_bits": (2.5, 4)}, "2.5 is not one of"),
        ({"candidate_bits": ()}, "candidate_bits is empty"),
        ({"candidate_bits": 4}, "candidate_bits=4: give a tuple"),
        ({"candidate_bits": "2,4"}, "candidate_bits='2,4': give a tuple"),
        ({"average_bits": 1.9}, "below the smallest candidate 2"),
        ({"average_bits": 1.5, "candidate_bits": (1.6, 2)}, "below the smallest candidate 1.6"),
        ({"average_bits": float("nan")}, "average_bits=nan"),
        ({"activation_bits": 1}, "activation_bits=1"),
        ({"activation_bits": 17}, "activation_bits=17"),
        ({"activation_bits": 0}, "activation_bits=0"),
        ({"recipe": "fast"}, "recipe='fast'"),
        ({"samples": 7}, "samples=7"),
        ({"held_out": 0.0}, "held_out=0.0"),
        ({"held_out": 1.0}, "held_out=1.0"),
        ({"mixed_channel_bits": 16}, "mixed_channel_bits"),
        ({"average_bits": float("inf")}, "average_bits=inf"),
        ({"budget": {"ff": 10}}, "budget='ff': choose one of lut, bram, dsp, cycles"),
        ({"budget": {"lut": -1}}, "budget lut=-1: must be a finite number, not below 0"),
        ({"budget": {"lut": float("nan")}}, "budget lut=nan"),
        ({"budget": {"dsp": float("inf")}}, "budget dsp=inf"),
        ({"budget": {"lut": 10}, "reconstruction": ReconstructionConfig(joint=True)}, "joint=True"),
        ({"target": "fpga", "candidate_bits": (1.6, 2)}, "drop 1.6"),
        ({"target": "fpga", "candidate_bits": (2, 9)}, "9 is not one of"),
        ({"target": "fpga", "average_bits": 1.8}, "2 is the smallest"),
        ({"target": "fpga", "activation_bits": None}, 'activation_bits=None: target="fpga" takes 2 to 8'),
        ({"target": "fpga", "activation_bits": 9}, "activation_bits=9"),
        ({"target": "fpga", "mixed_channel_bits": 32}, "mixed_channel_bits=32"),
        ({"activation_quantizer": "sqrt"}, "activation_quantizer='sqrt': choose one of uniform, log"),
        (
            {"activation_quantizer": "log", "target": "mobile"},
            'target="mobile" has uniform activations alone',
        ),
        ({"activation_quantizer": "log", "target": "fpga"}, 'target="fpga" has uniform activations alone'),
        ({"activation_quantizer": "log", "activation_bits": None}, "activation_bits=None: .*takes 2 to 8"),
        (
            {"equalize_layernorm": True, "activation_bits": None},
            "equalize_layernorm=True .*give activation_bits",
        ),
        (
            {"reconstruction": ReconstructionConfig(activations_first=True), "activation_bits": None},
            "activations_first=True is for quantized activations",
        ),
        ({"activation_quantizer": "log", "activation_bits": 9}, "activation_bits=9: .*takes 2 to 8"),
    ],
)
def test_a_run_refuses(values, match):
    refused(match, DefakeQConfig, **values)


@pytest.mark.parametrize(
    ("stage", "values", "match"),
    [
        ("haq", {"sensitivity": "hessian"}, "choose one of haq, taylor, measured, fisher, random"),
        ("haq", {"error_base": 1.0}, "error_base=1.0"),
        ("veft", {"fraction": 1.0}, "fraction=1.0"),
        ("veft", {"fraction": -0.1}, "fraction=-0.1"),
        ("veft", {"temperature": 0.0}, "temperature=0.0"),
        ("reconstruction", {"iterations": -1}, "iterations=-1"),
        ("reconstruction", {"matching": "mean"}, "matching='mean': choose one of moments, regression, none"),
        ("reconstruction", {"batch_size": 0}, "batch_size=0"),
        ("final", {"steps": -1}, "steps=-1"),
    ],
)
def test_a_stage_refuses(stage, values, match):
    refused(match, STAGES[stage], **values)
    with pytest.raises(UserError, match=match):
        DefakeQConfig.from_dict({stage: values})


def test_the_message_says_what_to_change():
    message = refused("smallest candidate", DefakeQConfig, average_bits=1.8)
    assert "raise it to 2" in message and "1.6" in message
    assert "drop it" in refused("9", DefakeQConfig, candidate_bits=(2, 9))


def test_the_edges_are_allowed():
    DefakeQConfig(average_bits=2)
    DefakeQConfig(average_bits=1.6, candidate_bits=(8, 1.6))
    DefakeQConfig(activation_bits=2)
    DefakeQConfig(activation_bits=16, samples=8, mixed_channel_bits=32)
    VEFTConfig(fraction=0.0)
    ReconstructionConfig(iterations=0)
    FinalPassConfig(steps=0)


def test_integer_hardware_keeps_restored_channels_at_16_bits():
    config = DefakeQConfig(target="fpga")
    assert config.mixed_channel_bits == 16
    assert through_json(config) == config


def test_candidates_are_sorted():
    assert DefakeQConfig(candidate_bits=(8, 2, 4)).candidate_bits == (2, 4, 8)
    assert DefakeQConfig(candidate_bits=[4, 2]).candidate_bits == (2, 4)


def test_configurations_are_frozen():
    for config in (DefakeQConfig(), *(stage() for stage in STAGES.values())):
        with pytest.raises(FrozenInstanceError):
            setattr(config, fields(config)[0].name, None)


# -------------------------------------------------------------------------------- recipes, ablations


def test_the_papers_values():
    paper = DefakeQConfig.for_recipe("paper", average_bits=4, seed=3)
    assert (paper.recipe, paper.average_bits, paper.seed) == ("paper", 4, 3)
    assert paper.candidate_bits == (2, 3, 4, 6, 8)
    assert paper.haq.sensitivity == "haq" and paper.haq.error_base == 2.0  # E(b) = 2^-b
    assert paper.veft.enabled and paper.veft.masks == "random" and paper.veft.fraction == 0.1
    assert paper.reconstruction.matching == "none" and paper.reconstruction.learned_rounding
    assert paper.final.steps == 0


def test_best_is_the_default():
    assert DefakeQConfig.for_recipe() == DefakeQConfig() == DefakeQConfig.for_recipe("best")
    assert DefakeQConfig().reconstruction.matching == "moments"


def test_an_unknown_recipe_is_refused():
    refused("choose one of best, paper", DefakeQConfig.for_recipe, recipe="quick")


@pytest.mark.parametrize("recipe", ["best", "paper"])
def test_an_ablation_changes_one_thing(recipe):
    config = DefakeQConfig.for_recipe(recipe)
    for ablation, stage in ((without_haq, "haq"), (without_veft, "veft")):
        changed = ablation(config)
        assert getattr(changed, stage) == replace(getattr(config, stage), enabled=False)
        others = {key: value for key, value in asdict(config).items() if key != stage}
        assert others == {key: value for key, value in asdict(changed).items() if key != stage}
