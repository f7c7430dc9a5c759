"""Does an attribute tell the label of videos that it was not learned from?"""

import numpy as np
import pytest

from brevitas_defakeq.data.check.association import association


def found(values, labels, videos=None, count=1):
    """Every value `count` times, each in a video of its own unless given."""
    values, labels = np.repeat(values, count), np.repeat(labels, count)
    videos = np.arange(len(values)) if videos is None else np.repeat(videos, count)
    return association("format", values.tolist(), labels, videos)


def test_an_attribute_that_gives_the_label_away():
    assert found(["PNG", "JPEG"], [0, 1], count=50) == {
        "attribute": "format", "accuracy": 1.0, "value": "JPEG", "share_of_real": 0.0, "share_of_fake": 1.0,
        "notable": True,
    }  # fmt: skip


def test_an_attribute_that_tells_nothing():
    for values in (["PNG", "PNG"], ["PNG", "JPEG", "PNG", "JPEG"]):
        labels = [0, 1] if len(values) == 2 else [0, 0, 1, 1]
        result = found(values, labels, count=100)
        assert abs(result["accuracy"] - 0.5) < 0.1 and not result["notable"]


def test_half_of_the_fakes_stand_out():
    """Learned: PNG means fake, JPEG real. Right on all reals and on half of the fakes."""
    labels, values = np.repeat([0, 1], 400), np.array(["JPEG"] * 600 + ["PNG"] * 200)
    result = association("format", values.tolist(), labels, np.arange(800))
    assert result["accuracy"] == pytest.approx(0.75, abs=0.01) and result["notable"]
    assert (result["value"], result["share_of_real"]) in (("JPEG", 1.0), ("PNG", 0.0))


def test_the_imbalance_of_the_classes_counts_for_nothing():
    """Guessing "fake" is right for 95 of 100 images, and tells nothing."""
    result = found(["PNG"] * 20, [0] + [1] * 19, count=20)
    assert result["accuracy"] == 0.5


def test_a_value_of_one_video_alone_tells_nothing():
    """Every video has one label and, say, one size: that is no rule for other videos."""
    videos = np.arange(40)
    values, labels = [f"{video}" for video in videos], videos % 2
    result = association("size", list(np.repeat(values, 9)), np.repeat(labels, 9), np.repeat(videos, 9))
    assert result["accuracy"] == 0.5


def test_too_few_videos_say_little():
    assert found(["PNG", "JPEG"], [0, 1], count=2)["notable"] is False
    assert found(["PNG", "JPEG"], [0, 1], count=1) is None, "nothing to learn from"
    assert found(["PNG"] * 5, [1] * 5, count=3) is None, "one class"
    assert association("format", [], np.array([], int), np.array([], int)) is None
