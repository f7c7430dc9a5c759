"""Which packets of a video have to be decoded for some of its frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Packet:
    """A coded frame, in the order of decoding.

    ``time`` is when it is shown, in ticks of the stream; ``starts`` says that decoding can start with it,
    ``hidden`` that it is only decoded for others and never shown (an edit list cut it off).
    """

    time: int
    starts: bool
    hidden: bool


def shown(packets: Sequence[Packet]) -> list[int]:
    """The positions of the packets that are shown, in the order of showing: entry n is frame n's packet."""
    visible = (position for position, packet in enumerate(packets) if not packet.hidden)
    return sorted(visible, key=lambda position: packets[position].time)


def spans(packets: Sequence[Packet], wanted: Sequence[int]) -> list[range]:
    """The stretches of packets, ascending and apart, to decode for the packets at positions ``wanted``.

    >>> group = [Packet(0, True, False), Packet(2, False, False), Packet(1, False, False)]
    >>> video = [Packet(packet.time + 3 * n, packet.starts, False) for n in range(4) for packet in group]
    >>> spans(video, [1, 10])
    [range(0, 2), range(9, 11)]
    """
    stretches: list[range] = []
    for start, stop in sorted((_start(packets, position), position + 1) for position in wanted):
        if stretches and start <= stretches[-1].stop:
            last = stretches.pop()
            start, stop = last.start, max(last.stop, stop)
        stretches.append(range(start, stop))
    return stretches


def _start(packets: Sequence[Packet], position: int) -> int:
    """Where decoding has to start for a packet.

    A packet that follows a key frame but is shown before it may lean on the frames before the key frame
    (an open group of pictures), so decoding starts with an earlier one.
    """
    time = packets[position].time
    candidates = (at for at in range(position, -1, -1) if packets[at].starts and packets[at].time <= time)
    return next(candidates, 0)
