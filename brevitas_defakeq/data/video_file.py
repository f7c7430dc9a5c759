"""A video file opened by PyAV: its packets and its decoded frames."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from brevitas_defakeq.data.video_plan import Packet
from brevitas_defakeq.utils.errors import UserError

#: Containers that store when each packet is shown (AVI, for one, does not).
_TIMED = {"mov", "matroska", "mpegts"}
#: Codecs with packets for frames that are never shown.
_HIDING = {"vp8"}


@contextlib.contextmanager
def open_video(path: Path, threads: int = 1) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The file and its video stream, to decode with ``threads`` threads.

    Raises UserError if it is missing, cannot be read, or holds no video (music's cover images do not count).
    """
    if not path.is_file():
        raise UserError(f"{path} is no file; give a video or an image")
    try:
        # "file:" because a colon in a name would else be taken for a protocol
        container = av.open(f"file:{path}", metadata_errors="replace")
    except av.FFmpegError as error:
        raise UserError(
            f"{path} cannot be read as a video ({_reason(error)}); replace or remove it"
        ) from None
    with container:
        stream = container.streams.best("video")
        cover = stream is not None and stream.disposition & Disposition.attached_pic
        if not isinstance(stream, VideoStream) or stream.codec_context is None or cover:
            raise UserError(f"{path} holds no video that can be decoded; replace or remove it")
        stream.codec_context.thread_count = threads
        stream.codec_context.thread_type = "FRAME"
        yield container, stream


def packets_of(path: Path) -> list[Packet] | None:
    """All packets of the video; None where they do not tell its frames."""
    with open_video(path) as (container, stream):
        timed = not _TIMED.isdisjoint(container.format.name.split(","))
        if not timed or stream.codec_context.name in _HIDING:
            return None
        packets: list[Packet] = []
        for packet in _packets(container, stream):
            if packet.pts is None:
                return None
            packets.append(Packet(packet.pts, packet.is_keyframe, packet.is_discard))
    return packets if len({packet.time for packet in packets}) == len(packets) else None


def decode_all(path: Path, threads: int) -> Iterator[av.VideoFrame]:
    """Every frame that can be decoded, in display order."""
    with open_video(path, threads) as (container, stream):
        for packet in _packets(container, stream):
            yield from _frames(stream, packet)
        yield from _frames(stream, None)


def decode_spans(path: Path, spans: Sequence[range], threads: int) -> Iterator[av.VideoFrame]:
    """The frames of these ranges of packets, ascending and disjoint, each decoded on its own."""
    rest = iter(spans)
    span = next(rest, range(0))
    with open_video(path, threads) as (container, stream):
        for position, packet in enumerate(_packets(container, stream)):
            if position in span:
                yield from _frames(stream, packet)
            if position + 1 == span.stop:
                yield from _frames(stream, None)
                stream.codec_context.flush_buffers()
                span = next(rest, range(0))
            if not span:
                return


class RgbConverter:
    """Converts decoded frames to upright uint8 RGB pixels [H, W, 3]; reuses swscale's tables."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        pixels = self._reformatter.reformat(frame, format="rgb24").to_ndarray()
        return np.ascontiguousarray(_upright(pixels, frame))


def _upright(pixels: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """Pixels [H, W, 3] turned in quarters and mirrored by the frame's display matrix, as players do."""
    matrix: Any = frame.side_data.get(SideDataType.DISPLAYMATRIX)  # type: ignore[call-overload]  # keys are types
    if matrix is None:
        return pixels
    # A stored pixel (x, y) is shown at (a x + c y, b x + d y), y downwards.
    a, b, _, c, d, *_ = np.frombuffer(bytes(matrix), np.int32).astype(np.int64)
    turned = abs(b) + abs(c) > abs(a) + abs(d)
    across, down = (c, b) if turned else (a, d)
    shown = pixels.swapaxes(0, 1) if turned else pixels
    return shown[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1]


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet]:
    """The intact packets up to the end or to damage; decoders would invent the rest of a partial packet."""
    with contextlib.suppress(av.FFmpegError):
        for packet in container.demux(stream):
            if packet.size and not packet.is_corrupt:
                yield packet


def _frames(stream: VideoStream, packet: av.Packet | None) -> list[av.VideoFrame]:
    """The frames that a packet decodes to (None: those still in the decoder), without damaged ones."""
    try:
        return [frame for frame in stream.decode(packet) if not frame.is_corrupt]
    except av.FFmpegError:
        return []


def _reason(error: av.FFmpegError) -> str:
    return " ".join((error.strerror or type(error).__name__).split())
