"""Which packets of a video must be decoded for some of its frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Packet:
    """A coded frame.

    Attributes:
        time: when it is shown, in ticks of the stream.
        starts: decoding can start with it.
        hidden: it is decoded for other frames only and never shown (an edit list removed it).
    """

    time: int
    starts: bool
    hidden: bool


def shown(packets: Sequence[Packet]) -> list[int]:
    """The positions of the packets that are shown, in display order: entry n is frame n's packet."""
    visible = (position for position, packet in enumerate(packets) if not packet.hidden)
    return sorted(visible, key=lambda position: packets[position].time)


def spans(packets: Sequence[Packet], wanted: Sequence[int]) -> list[range]:
    """The ranges of packets, ascending and disjoint, to decode for the packets at positions ``wanted``.

    >>> group = [Packet(0, True, False), Packet(2, False, False), Packet(1, False, False)]
    >>> video = [Packet(packet.time + 3 * n, packet.starts, False) for n in range(4) for packet in group]
    >>> spans(video, [1, 10])
    [range(0, 2), range(9, 11)]
    """
    ranges: list[range] = []
    for start, stop in sorted((_start(packets, position), position + 1) for position in wanted):
        if ranges and start <= ranges[-1].stop:
            last = ranges.pop()
            start, stop = last.start, max(last.stop, stop)
        ranges.append(range(start, stop))
    return ranges


def _start(packets: Sequence[Packet], position: int) -> int:
    """Where decoding must start for a packet.

    A packet that follows a key frame but is shown before it may depend on frames before the key frame (an
    open GOP), so decoding starts with an earlier key frame.
    """
    time = packets[position].time
    candidates = (at for at in range(position, -1, -1) if packets[at].starts and packets[at].time <= time)
    return next(candidates, 0)
