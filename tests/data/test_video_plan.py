"""Which packets are decoded, against a plain search."""

from hypothesis import given
from hypothesis import strategies as st

from brevitas_defakeq.data.video_plan import Packet, shown, spans


@st.composite
def videos(draw):
    """Packets with any times and any key frames, the first one a key frame."""
    times = draw(st.permutations(range(draw(st.integers(1, 30)))))
    starts = draw(st.lists(st.booleans(), min_size=len(times), max_size=len(times)))
    hidden = draw(st.lists(st.booleans(), min_size=len(times), max_size=len(times)))
    packets = [Packet(*values) for values in zip(times, starts, hidden, strict=True)]
    wanted = draw(st.lists(st.integers(0, len(times) - 1), unique=True))
    return packets, wanted


def needed(packets, position):
    """The positions from the nearest key frame that is shown no later, or from the first packet."""
    start = 0
    for at in range(position + 1):
        if packets[at].starts and packets[at].time <= packets[position].time:
            start = at
    return set(range(start, position + 1))


@given(videos())
def test_exactly_what_is_needed_in_stretches_that_lie_apart(video):
    packets, wanted = video
    found = spans(packets, wanted)
    assert {position for span in found for position in span} == set().union(
        *(needed(packets, position) for position in wanted)
    )
    assert all(len(span) for span in found)
    assert all(before.stop < after.start for before, after in zip(found, found[1:], strict=False))


@given(videos())
def test_frames_are_numbered_as_they_are_shown(video):
    packets, _ = video
    times = [packets[position].time for position in shown(packets)]
    assert times == sorted(packet.time for packet in packets if not packet.hidden)


def test_a_frame_shown_before_its_key_frame_needs_the_group_before():
    """I0 P3 B1 B2 | I6 B4 B5 P7, in the order of decoding; the letters' numbers are the times."""
    times, keys = (0, 3, 1, 2, 6, 4, 5, 7), (0, 4)
    packets = [Packet(time, position in keys, False) for position, time in enumerate(times)]
    assert shown(packets) == [0, 2, 3, 1, 5, 6, 4, 7]
    assert spans(packets, [5]) == [range(0, 6)]
    assert spans(packets, [4]) == [range(4, 5)]
    assert spans(packets, [4, 5]) == [range(0, 6)]
    assert spans(packets, [0, 7]) == [range(0, 1), range(4, 8)]
