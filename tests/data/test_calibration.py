"""Which images are chosen: shares, videos, seeds."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brevitas_defakeq.data import calibration
from brevitas_defakeq.data.calibration import choose_calibration, split_held_out
from brevitas_defakeq.data.listing import Listing
from brevitas_defakeq.data.sources import Sample
from brevitas_defakeq.utils.errors import UserError


def frames(label, dataset, videos, per_video=1):
    return [
        Sample(Path(f"{dataset}/{label}/{video}/{frame}.png"), label, f"{video}", dataset)
        for video in range(videos)
        for frame in range(per_video)
    ]


def test_labels_and_datasets_get_equal_shares():
    samples = frames(0, "ff", 300) + frames(1, "df", 500) + frames(1, "f2f", 80) + frames(1, "nt", 60)
    chosen = choose_calibration(samples, 96, seed=0)
    assert Counter(sample.label for sample in chosen) == {0: 48, 1: 48}
    assert Counter(sample.dataset for sample in chosen) == {"ff": 48, "df": 16, "f2f": 16, "nt": 16}


def test_a_short_label_is_filled_up_by_the_other():
    chosen = choose_calibration(frames(0, "a", 5) + frames(1, "b", 100), 50, seed=0)
    assert Counter(sample.label for sample in chosen) == {0: 5, 1: 45}


def test_videos_are_different_while_there_are_any():
    samples = frames(0, "a", 20, per_video=9) + frames(1, "b", 20, per_video=9)
    chosen = choose_calibration(samples, 40, seed=3)
    assert max(Counter((s.label, s.video) for s in chosen).values()) == 1
    more = choose_calibration(samples, 80, seed=3)
    assert set(Counter((s.label, s.video) for s in more).values()) == {2}


def test_unlabelled_images():
    assert len(choose_calibration(frames(None, "a", 30), 12, seed=0)) == 12


def test_seed_and_order():
    samples = frames(0, "a", 50, 2) + frames(1, "b", 50, 2)
    chosen = choose_calibration(samples, 30, seed=7)
    assert chosen == choose_calibration(samples[::-1], 30, seed=7)
    assert chosen != choose_calibration(samples, 30, seed=8)
    assert [sample.label for sample in chosen] not in ([0, 1] * 15, [0] * 15 + [1] * 15)


def test_too_few_are_all_taken_and_none_is_refused():
    samples = frames(0, "a", 3)
    assert sorted(map(str, choose_calibration(samples, 256, seed=0))) == sorted(map(str, samples))
    with pytest.raises(UserError, match="0 calibration images"):
        choose_calibration(samples, 0, seed=0)


@settings(deadline=None)
@given(
    counts=st.lists(
        st.tuples(st.integers(0, 1), st.integers(1, 6), st.integers(1, 4)), min_size=1, max_size=5
    ),
    count=st.integers(1, 60),
    seed=st.integers(0, 5),
)
def test_never_repeats_and_never_falls_short(counts, count, seed):
    samples = [
        s for i, (label, videos, per) in enumerate(counts) for s in frames(label, f"d{i}", videos, per)
    ]
    chosen = choose_calibration(samples, count, seed=seed)
    assert len(chosen) == len(set(chosen)) == min(count, len(samples))
    available = Counter(sample.label for sample in samples)
    shares = Counter(sample.label for sample in chosen)
    for label, other in ((0, 1), (1, 0)):
        assert shares[label] >= shares[other] - 1 or shares[label] == available[label]


@settings(deadline=None)
@given(st.integers(0, 300), st.floats(0, 0.99), st.integers(0, 9))
def test_split(count, fraction, seed):
    train, held = split_held_out(count, fraction, seed)
    assert sorted([*train, *held]) == list(range(count))
    assert np.array_equal(train, np.sort(train)) and np.array_equal(held, np.sort(held))
    assert abs(len(held) - count * fraction) <= 1 and (len(train) or not count)
    assert np.array_equal(held, split_held_out(count, fraction, seed)[1])


def test_a_fifth_of_256():
    train, held = split_held_out(256, 0.2, 0)
    assert (len(train), len(held)) == (205, 51)
    with pytest.raises(UserError, match="less than 1"):
        split_held_out(10, 1.0, 0)


def forensics(pairs, per_video=2):
    """FaceForensics++ as its index is read: originals and, of each pair both ways, fakes of four methods."""
    samples = []
    for first in range(0, 2 * pairs, 2):
        a, b = f"{first:03d}", f"{first + 1:03d}"
        videos = [("FF-real", "", 0, a), ("FF-real", "", 0, b)]
        for method in ("FF-DF", "FF-F2F", "FF-FS", "FF-NT"):
            videos += [(method, method, 1, f"{a}_{b}"), (method, method, 1, f"{b}_{a}")]
        samples += [
            Sample(Path(f"{kind}/{name}/{frame}.png"), label, f"{kind}/c23/{name}", "FaceForensics++", method)
            for kind, method, label, name in videos
            for frame in range(per_video)
        ]
    return samples


def pairs_of(samples):
    """How often each two people were taken, of the fakes."""
    return Counter(
        frozenset(sample.video.split("/")[-1].split("_")) for sample in samples if sample.label == 1
    )


def test_manipulations_get_equal_shares_and_pairs_are_different():
    """The published choice: 128 real, 32 of each method, no two fakes of the same two people."""
    chosen = choose_calibration(forensics(360), 256, seed=0)
    assert Counter(sample.manipulation for sample in chosen) == {
        "": 128, "FF-DF": 32, "FF-F2F": 32, "FF-FS": 32, "FF-NT": 32
    }  # fmt: skip
    assert max(pairs_of(chosen).values()) == 1
    assert len({sample.video for sample in chosen}) == 256


def test_pairs_come_again_only_when_all_were_taken():
    chosen = choose_calibration(forensics(5), 40, seed=1)
    assert set(pairs_of(chosen).values()) == {4}, "20 fakes of 5 pairs"
    assert max(Counter(sample.video for sample in chosen if sample.label).values()) == 1, "of 40 fake videos"


def test_data_sets_share_before_their_manipulations():
    samples = forensics(30) + frames(1, "other", 30)
    chosen = choose_calibration(samples, 64, seed=0)
    assert Counter((s.dataset, s.manipulation) for s in chosen if s.label) == {
        ("other", ""): 16, **{("FaceForensics++", f"FF-{method}"): 4 for method in ("DF", "F2F", "FS", "NT")}
    }  # fmt: skip


def test_a_listing_gives_what_its_list_gives():
    samples = forensics(10) + frames(None, "u", 5)
    listing = Listing.of(samples)
    for seed in range(3):
        assert choose_calibration(listing, 30, seed=seed) == choose_calibration(samples, 30, seed=seed)
    assert choose_calibration(listing[::-1], 30, seed=0) == choose_calibration(samples, 30, seed=0)


def test_every_frame_of_a_video_may_be_chosen():
    samples = frames(0, "a", 1, per_video=8)
    assert {choose_calibration(samples, 1, seed=seed)[0].path for seed in range(60)} == {
        sample.path for sample in samples
    }


def test_many_videos_are_sampled_first(monkeypatch):
    """Of a million videos a few dozen for each image are candidates; all that are asked for are found."""
    monkeypatch.setattr(calibration, "_CANDIDATES", 1)
    samples = frames(0, "a", 100) + frames(1, "b", 100)
    chosen = choose_calibration(samples, 60, seed=0)
    assert len({(sample.dataset, sample.video) for sample in chosen}) == 60
