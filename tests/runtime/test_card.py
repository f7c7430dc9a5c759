import json

import pytest

from brevitas_defakeq.imaging.preprocessing import Preprocessing
from brevitas_defakeq.runtime import Card, CardInput, CardOutput, UserError


def test_round_trip_through_json_and_file(content, tmp_path):
    card = Card.from_json(content())
    assert card.to_json() == content() == json.loads(json.dumps(card.to_json()))
    card.write(tmp_path / "model_card.json")
    assert Card.read(tmp_path / "model_card.json") == card
    assert [file.name for file in tmp_path.iterdir()] == ["model_card.json"], "nothing temporary is left"


def test_values_are_typed(content):
    card = Card.from_json(content())
    assert isinstance(card.input, CardInput) and isinstance(card.output, CardOutput)
    assert card.input.preprocessing == Preprocessing((6, 4), "bilinear", (0.5, 0.4, 0.3), (0.5, 0.25, 0.2))


def test_constructor_checks_too(content):
    card = Card.from_json(content())
    given = {name: getattr(card, name) for name in ("name", "input", "output", "threshold", "runtime")}
    assert Card(**given).bits == {}
    with pytest.raises(UserError, match="threshold='high' must be a number"):
        Card(**{**given, "threshold": "high"})


def drop(content, name):
    part, _, field = name.rpartition("__")
    whole = content()
    del (whole[part] if part else whole)[field]
    return whole


@pytest.mark.parametrize("name", ["threshold", "licence", "format_version", "input__mean", "output__kind"])
def test_missing_field_is_named(content, name):
    with pytest.raises(UserError, match=rf"missing: {name.rpartition('__')[2]}\b"):
        Card.from_json(drop(content, name))


@pytest.mark.parametrize("name", ["colour", "input__colour", "output__colour"])
def test_unknown_field_is_named(content, name):
    with pytest.raises(UserError, match="unknown: colour"):
        Card.from_json(content(**{name: 1}))


WRONG = {
    "format_version": [2, "1", True],
    "name": ["", 3, None],
    "format": ["", 3, None],
    "input": [None, [6, 4], "NCHW"],
    "input__size": [[0, 4], [6], 6, "6x4", [6.5, 4]],
    "input__layout": ["NCWH", None, ["NCHW"]],
    "input__dtype": ["int8", None],
    "input__mean": [0.5, [0.5], [0.5, 0.5, "x"], None],
    "input__std": [[0.5, 0.5, 0.0], [1, 1, float("nan")]],
    "input__interpolation": ["cubic", None],
    "input__crop": ["face", 1, ""],
    "input__fit": ["centered", None],
    "input__crop_margin": [-0.1, "0.3", float("inf"), True],
    "output": [1, {"kind": "logit"}],
    "output__kind": ["auto", None],
    "output__fake_index": [-1, 0.5, True],
    "output__real_index": [-1, 0.5, True],
    "threshold": ["0", None, float("nan"), True],
    "runtime": [1.18, "new", "1", "1.18rc1"],
    "bits": [None, {"head": 0}, {"head": "8"}, [8]],
    "bytes": [{"weights": 1.5}, {"weights": -1}],
    "patterns": [{"LUT3": True}, 3],
    "auc": [0.9, [0.9]],
    "licence": ["", 1],
    "provenance": [None, "seed 0"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in WRONG for value in WRONG[name]])
def test_wrong_value_is_one_line_that_names_the_field(content, tmp_path, name, value):
    path = tmp_path / "model_card.json"
    path.write_text(json.dumps(content(**{name: value})))
    with pytest.raises(UserError) as refusal:
        Card.read(path)
    message = str(refusal.value)
    assert message.startswith(f"{path}: ") and name.rpartition("__")[2] in message and "\n" not in message


FLIPS = {"count": 1, "n": 4, "share": 0.25, "interval": [0.05, 0.7], "threshold": 0.0}
FIDELITY = {"rank_correlation": 0.9, "flips": FLIPS, "largest_probability_change": 0.4}


def test_flips_are_kept_and_may_be_missing(content):
    metrics = {"auc": 0.9, "fidelity": FIDELITY}
    card = Card.from_json(content(auc=metrics))
    assert card.auc == metrics and Card.from_json(card.to_json()) == card
    assert Card.from_json(content(auc={"fidelity": {"rank_correlation": 0.9}})), "of an earlier version"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flips": {**FLIPS, "count": 5}}, "flips.count=5 must be a whole number from 0 to n, 4"),
        ({"flips": {**FLIPS, "share": 0.5}}, "flips.share=0.5 must be count / n, 0.25"),
        ({"flips": {"count": 1}}, "auc.fidelity.flips has wrong fields .missing: n, share"),
        ({"flips": 0.25}, "auc.fidelity.flips=0.25 must be a JSON object"),
        (
            {"largest_probability_change": 1.5},
            "auc.fidelity.largest_probability_change=1.5 must be a number from 0 to 1",
        ),
        ({"largest_probability_change": "0"}, "auc.fidelity.largest_probability_change='0' must be"),
    ],
)
def test_flips_that_are_wrong_are_named(content, tmp_path, change, message):
    path = tmp_path / "model_card.json"
    path.write_text(json.dumps(content(auc={"fidelity": {**FIDELITY, **change}})))
    with pytest.raises(UserError, match=rf"model_card.json: {message}"):
        Card.read(path)
    with pytest.raises(UserError, match="auc.fidelity=0.9 must be a JSON object"):
        Card.from_json(content(auc={"fidelity": 0.9}))


def test_a_real_class_is_kept_and_left_out_where_there_is_none(content):
    assert "real_index" not in Card.from_json(content()).to_json()["output"]
    card = Card.from_json(content(output__kind="softmax", output__real_index=0))
    assert card.output.real_index == 0 and Card.from_json(card.to_json()) == card


def test_missing_and_damaged_file(tmp_path):
    path = tmp_path / "model_card.json"
    with pytest.raises(UserError, match="model_card.json is missing; copy it"):
        Card.read(path)
    for damage in ("{", "[]", '"card"', ""):
        path.write_text(damage)
        with pytest.raises(UserError, match="damaged"):
            Card.read(path)


def test_later_format_is_recognised_before_its_fields(content):
    with pytest.raises(UserError, match=r"format_version=2 .*too old"):
        Card.from_json(content(format_version=2, palette={}))
