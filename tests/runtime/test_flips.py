"""The record of flips: JSON there and back, and what contradicts itself."""

import json

import pytest

from brevitas_defakeq.runtime.flips import Flips
from brevitas_defakeq.runtime.json_records import record
from brevitas_defakeq.utils.errors import UserError

GOOD = {"count": 1, "n": 4, "share": 0.25, "interval": [0.05, 0.7], "threshold": -0.5}


def test_json_there_and_back():
    flips = Flips(**{**GOOD, "interval": (0.05, 0.7)})
    assert flips.to_json() == GOOD == record(Flips, json.loads(json.dumps(GOOD)), "flips").to_json()


@pytest.mark.parametrize(
    "change",
    [{"count": 5}, {"count": -1}, {"count": 1.0}, {"count": True}, {"n": 0, "count": 0}, {"n": "4"},
     {"share": 0.2}, {"share": None}, {"share": float("nan")}, {"interval": [0.3, 0.7]},
     {"interval": [0.05, 0.2]}, {"interval": [-0.1, 0.7]}, {"interval": [0.05, 1.1]}, {"interval": 0.1},
     {"interval": [0.05]}, {"interval": [0.05, "x"]}, {"threshold": None}, {"threshold": float("inf")}],
)  # fmt: skip
def test_what_contradicts_itself_is_named(change):
    name = next(iter(change))
    with pytest.raises(UserError, match=rf"^flips\.{name}=") as refusal:
        Flips(**{**GOOD, **change})
    assert "\n" not in str(refusal.value)
