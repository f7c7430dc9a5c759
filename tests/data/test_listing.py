"""Columns instead of samples: nobody notices, except for the memory."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brevitas_defakeq.data.listing import Listing, ListingBuilder
from brevitas_defakeq.imaging.sample import Sample

WORDS = st.sampled_from(("a", "b", "a/b", "0", "x y", "é"))
SAMPLES = st.lists(
    st.builds(
        Sample,
        st.builds(lambda folder, name: Path(folder) / f"{name}.png", WORDS, st.integers(0, 20)),
        st.sampled_from((0, 1, None)),
        WORDS,
        WORDS,
        st.sampled_from(("", "FF-DF")),
    ),
    max_size=30,
)


@settings(deadline=None)
@given(SAMPLES, st.slices(12))
def test_a_listing_is_the_list(samples, part):
    listing = Listing.of(iter(samples))
    assert listing == samples and samples == listing and list(listing) == samples
    assert len(listing) == len(samples) and Listing.of(listing) is listing
    assert listing[part] == samples[part] and isinstance(listing[part], Listing)
    assert listing + samples == samples + list(listing) and listing * 2 == samples * 2
    assert [listing[index] for index in range(-len(samples), 0)] == samples
    assert list(listing.paths()) == [str(sample.path) for sample in samples]
    assert [listing.strings[code] for code in listing.codes("video")] == [s.video for s in samples]
    assert listing.by_path() == sorted(samples, key=lambda sample: sample.path.as_posix())


@given(SAMPLES)
def test_videos_are_one_only_within_a_data_set_and_a_label(samples):
    keys = [(sample.dataset, sample.label, sample.video) for sample in samples]
    numbers = Listing.of(samples).videos().tolist()
    assert len(set(numbers)) == len(set(keys)) == len(set(zip(numbers, keys, strict=True)))


def test_other_lists_are_not_equal():
    listing = Listing.of([Sample(Path("a.png"), 0, "a", "x")])
    assert listing != [Sample(Path("a.png"), 1, "a", "x")] and listing != [] and listing != "a"
    assert repr(listing) == "<Listing of 1 samples>"
    with pytest.raises(IndexError):
        listing[1]
    with pytest.raises(TypeError):
        hash(listing)


def test_thinned_by_video_and_in_the_order_of_its_numbers():
    rows = ListingBuilder()
    rows.add("in", ["f10.png", "f9.png", "f1.png", "f2.png", "f3.png"], label=0, video="v", dataset="d")
    rows.add("in", ["0.png"], label=1, video="v", dataset="d")
    rows.add("more", ["4.png", "7.png", "5.png"], label=0, video="w", dataset="d", manipulation="m")
    listing = rows.listing()

    def names(samples):
        return [sample.path.name for sample in samples]

    assert names(listing.thinned(2, first=True)) == ["f1.png", "f2.png", "0.png", "4.png", "5.png"]
    assert names(listing.thinned(2, first=False)) == ["f10.png", "f1.png", "0.png", "4.png", "7.png"]
    assert names(listing.thinned(1, first=False)) == ["f3.png", "0.png", "5.png"]
    assert listing.thinned(None, first=True) is listing and listing.thinned(5, first=True) == listing
    assert len(ListingBuilder().listing().thinned(3, first=True)) == 0


def test_taking_by_mask_and_by_place():
    listing = Listing.of([Sample(Path(f"{number}.png"), 1, "v", "d") for number in range(4)])
    assert [s.path.stem for s in listing.take(np.array([3, 1]))] == ["3", "1"]
    assert [s.path.stem for s in listing.take(listing.labels == 0)] == []
    assert listing.strings[listing.ranks().argsort()[0]] == min(listing.strings)


def test_a_row_is_small():
    """21 bytes beside the strings, which are kept once."""
    rows = ListingBuilder()
    for video in range(100):
        names = [f"{frame:03d}.png" for frame in range(32)]
        rows.add(f"in/{video}", names, label=0, video=f"{video}", dataset="d")
    listing = rows.listing()
    columns = ("folder", "name", "video", "dataset", "manipulation")
    stored = listing.labels.nbytes + sum(listing.codes(column).nbytes for column in columns)
    assert stored == 21 * 3200 and len(listing.strings) == 100 + 100 + 32 + 2
