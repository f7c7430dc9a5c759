"""Frames of a video by number, decoded by PyAV to the same pixels as by OpenCV's reader.

A video is read twice: first its packets alone, which is fast and gives the number of frames, when each is
shown and where decoding can start; then the packets that the chosen frames need are decoded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from brevitas_defakeq.data.video_file import RgbConverter, decode_all, decode_spans, packets_of
from brevitas_defakeq.data.video_plan import Packet, shown, spans
from brevitas_defakeq.utils.errors import UserError

FRAME_CHOICES = ("even", "first")


@dataclass(frozen=True)
class Frame:
    """A frame: its number in display order, from 0, and its upright uint8 RGB pixels [H, W, 3]."""

    number: int
    pixels: np.ndarray


def read_frames(
    path: str | os.PathLike, count: int, *, choose: str = "even", threads: int = 1
) -> Iterator[Frame]:
    """Up to ``count`` frames of a video, each with the pixels that decoding the whole video would give.

    They come in display order, except for frames that the decoder skipped at first. A damaged video gives the
    frames that decode.

    Args:
        path: the video file.
        count: from 1; a shorter video gives all its frames.
        choose: "even" spreads them from the first frame to the last (as DeepfakeBench does), "first" uses the
            first ones.
        threads: decoding threads, from 1.

    Raises:
        UserError: the file is missing, no video, or none of its frames decodes; count or choose is wrong.
    """
    if choose not in FRAME_CHOICES or count < 1:
        raise UserError(f"{count} frames, {choose!r}: give 1 or more, and {' or '.join(FRAME_CHOICES)}")
    path = Path(path)
    packets = packets_of(path)
    if packets is None:
        frames = _counted(path, count, choose, threads)
    else:
        frames = _planned(path, packets, chosen_numbers(len(shown(packets)), count, choose), threads)
    to_rgb = RgbConverter()
    empty = True
    for number, frame in frames:
        empty = False
        yield Frame(number, to_rgb(frame))
    if empty:
        raise UserError(f"{path} holds no frame that can be decoded; replace or remove it")


def chosen_numbers(total: int, count: int, choose: str = "even") -> list[int]:
    """Which of ``total`` frames are used, ascending, without repetitions.

    >>> chosen_numbers(300, 4), chosen_numbers(300, 4, "first"), chosen_numbers(2, 4)
    ([0, 99, 199, 299], [0, 1, 2, 3], [0, 1])
    """
    if choose == "first" or not total:
        return list(range(min(count, total)))
    return sorted(set(np.linspace(0, total - 1, count).astype(int).tolist()))


def _planned(
    path: Path, packets: Sequence[Packet], numbers: Sequence[int], threads: int
) -> Iterator[tuple[int, av.VideoFrame]]:
    """The frames with these numbers, decoding no more than they need.

    Decoders skip frames that they cannot rebuild from where they started (videos with intra refresh have no
    better start); then everything is decoded for the frames still missing.
    """
    order = shown(packets)
    waiting = {packets[order[number]].time: number for number in numbers}
    stretches = spans(packets, [order[number] for number in numbers])
    for frames in (decode_spans(path, stretches, threads), decode_all(path, threads)):
        for frame in frames:
            if frame.pts in waiting:
                yield waiting.pop(frame.pts), frame
            if not waiting:
                return


def _counted(path: Path, count: int, choose: str, threads: int) -> Iterator[tuple[int, av.VideoFrame]]:
    """As `_planned`, for a video whose packets do not tell its frames: it is decoded to count them."""
    total = count if choose == "first" else sum(1 for _ in decode_all(path, threads))
    numbers = chosen_numbers(total, count, choose)
    for number, frame in enumerate(decode_all(path, threads)):
        if number in numbers:
            yield number, frame
        if not numbers or number >= numbers[-1]:
            return
