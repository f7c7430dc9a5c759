"""When an exported file counts as disagreeing with its model."""

import pytest

from brevitas_defakeq.export.agreement import ModelAgreement
from brevitas_defakeq.utils.errors import UserError


def agreement(**changes):
    values = {
        "images": 40, "verdicts": 1.0, "difference": 0.01, "largest": 0.1, "plain": None, "unrest": 0.0,
        "own_flips": 0.0,
    }  # fmt: skip
    return ModelAgreement(**values | changes)


@pytest.mark.parametrize("changes", [{"verdicts": 0.875}, {"difference": 0.06}, {"difference": float("nan")}])
def test_a_steady_model_has_to_be_kept(changes):
    with pytest.raises(UserError, match="disagrees with the model"):
        agreement(**changes).require()


@pytest.mark.parametrize(
    "changes", [{"verdicts": 0.9}, {"verdicts": 0.7, "own_flips": 0.1}, {"difference": 0.3, "unrest": 0.1}]
)
def test_a_file_may_differ_as_the_model_does_in_float64(changes):
    agreement(**changes).require()


def test_but_no_more():
    with pytest.raises(UserError, match="60.0 % equal verdicts on 40 images"):
        agreement(verdicts=0.6, own_flips=0.1).require()
