"""The order of a video's frames, and which are taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brevitas_defakeq.data.frame_selection import chosen, frame_order, positions


@pytest.mark.parametrize(
    "wanted",
    [
        ["099.png", "155.png", "1024.png"],
        ["frame_2.jpg", "frame_10.jpg", "frame_10_1.jpg"],
        ["a.png", "b.png"],
        ["007.png", "7.jpg", "7.png", "8.png"],
        ["1.png", "x1.png"],
        ["no_suffix_2", "no_suffix_12"],
    ],
)
def test_numbers_decide(wanted):
    for names in (wanted, wanted[::-1], sorted(wanted)):
        assert [names[index] for index in frame_order(names)] == wanted


@given(st.integers(1, 400), st.integers(1, 400))
def test_evenly_from_the_first_to_the_last(total, count):
    found = positions(total, count, first=False)
    assert len(found) == min(total, count) == len(set(found)) and found == sorted(found)
    steps = {after - before for before, after in zip(found, found[1:], strict=False)}
    assert not steps or max(steps) - min(steps) <= 1
    if len(found) > 1:
        assert (found[0], found[-1]) == (0, total - 1)
    assert positions(total, count, first=True) == list(range(min(total, count)))
    assert positions(total, None, first=False) == list(range(total))


def test_chosen_by_hand():
    names = ["1024.png", "099.png", "155.png", "2000.png"]
    assert chosen(names, 2, first=True) == ["099.png", "155.png"]
    assert chosen(names, 2, first=False) == ["099.png", "2000.png"]
    assert chosen(names, 1, first=False) == ["155.png"]
    assert chosen(names, None, first=False) == ["099.png", "155.png", "1024.png", "2000.png"]
