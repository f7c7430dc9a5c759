"""What may be selected."""

import pytest

from brevitas_defakeq.data.selection import Selection
from brevitas_defakeq.utils.errors import UserError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"split": "dev"}, "split='dev' is not known; choose train, val, test or all"),
        ({"compression": "c0"}, "compression='c0' is not known; choose raw, c23, c40"),
        ({"frames": 0}, "frames=0: give the images of a video to take"),
        ({"missing": 1.5}, "missing=1.5: give the share"),
        ({"missing": float("nan")}, "missing=nan"),
        ({"root": "nowhere/at/all"}, "root=nowhere/at/all is no folder"),
    ],
)
def test_what_is_not_allowed(values, message):
    with pytest.raises(UserError, match=message):
        Selection(**values)


def test_one_name_and_a_path_as_text(tmp_path):
    given = Selection(datasets="FF-DF", root=str(tmp_path))
    assert given == Selection(datasets=["FF-DF"], root=tmp_path) and given.datasets == ("FF-DF",)


def test_wanted_splits():
    assert Selection("val").wants(("val", "test")) and not Selection("val").wants(("train",))
    assert Selection("all").wants(()) and not Selection().wants(())
