"""Frames of a video by number, decoded by PyAV; the same pixels as OpenCV's reader gives.

A video is read twice. First its packets alone, which is quick and tells how many frames there are, when each
is shown and where decoding can start; then the packets that the wanted frames need are decoded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from brevitas_defakeq.data.video_file import Developer, decoded, decoded_spans, packets_of
from brevitas_defakeq.data.video_plan import Packet, shown, spans
from brevitas_defakeq.utils.errors import UserError

CHOICES = ("even", "first")


@dataclass(frozen=True)
class Frame:
    """A frame: its number in the order of showing, from 0, and uint8 RGB pixels [H, W, 3], upright."""

    number: int
    pixels: np.ndarray


def read_frames(
    path: str | os.PathLike, count: int, *, choose: str = "even", threads: int = 1
) -> Iterator[Frame]:
    """Up to ``count`` frames of a video, each with the pixels that decoding all of it would give.

    They come in their order, except for those that a decoder passed over at first.

    Args:
        path: the video file.
        count: from 1; a video with fewer frames gives all it has.
        choose: "even" spreads them from the first frame to the last (as DeepfakeBench does), "first" takes
            the first ones.
        threads: threads that decode, from 1.

    A damaged video gives the frames that decode.

    Raises:
        UserError: the file is missing, no video, or none of its frames decodes; count or choose is wrong.
    """
    if choose not in CHOICES or count < 1:
        raise UserError(f"{count} frames, {choose!r}: give 1 or more, and {' or '.join(CHOICES)}")
    path = Path(path)
    packets = packets_of(path)
    if packets is None:
        frames = _counted(path, count, choose, threads)
    else:
        frames = _planned(path, packets, chosen_numbers(len(shown(packets)), count, choose), threads)
    to_rgb = Developer()
    number = None
    for number, frame in frames:
        yield Frame(number, to_rgb(frame))
    if number is None:
        raise UserError(f"{path} holds no frame that can be decoded; replace or remove it")


def chosen_numbers(total: int, count: int, choose: str = "even") -> list[int]:
    """Which of ``total`` frames are taken, ascending, each once.

    >>> chosen_numbers(300, 4), chosen_numbers(300, 4, "first"), chosen_numbers(2, 4)
    ([0, 99, 199, 299], [0, 1, 2, 3], [0, 1])
    """
    if choose == "first" or not total:
        return list(range(min(count, total)))
    return sorted(set(np.linspace(0, total - 1, count).astype(int).tolist()))


def count_frames(path: str | os.PathLike) -> int:
    """How many frames a video has: by its packets, or by decoding them where these do not tell.

    Raises UserError if it is missing or no video.
    """
    packets = packets_of(Path(path))
    return len(shown(packets)) if packets is not None else sum(1 for _ in decoded(Path(path), 1))


def _planned(
    path: Path, packets: Sequence[Packet], numbers: Sequence[int], threads: int
) -> Iterator[tuple[int, av.VideoFrame]]:
    """The frames of these numbers, decoding what they need.

    Decoders pass over frames that they cannot rebuild from where they started (videos that refresh their
    picture bit by bit have no better place to start); then everything is decoded for the ones not yet seen.
    """
    order = shown(packets)
    waiting = {packets[order[number]].time: number for number in numbers}
    stretches = spans(packets, [order[number] for number in numbers])
    for frames in (decoded_spans(path, stretches, threads), decoded(path, threads)):
        for frame in frames:
            if frame.pts in waiting:
                yield waiting.pop(frame.pts), frame
            if not waiting:
                return


def _counted(path: Path, count: int, choose: str, threads: int) -> Iterator[tuple[int, av.VideoFrame]]:
    """The frames of a video whose packets do not tell how many there are: it is decoded to count them."""
    total = count if choose == "first" else sum(1 for _ in decoded(path, threads))
    numbers = chosen_numbers(total, count, choose)
    for number, frame in enumerate(decoded(path, threads)):
        if number in numbers:
            yield number, frame
        if not numbers or number >= numbers[-1]:
            return
