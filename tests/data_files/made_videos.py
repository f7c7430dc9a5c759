"""Frames with drawn faces on them, and videos of such frames."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import av
import numpy as np

from brevitas_defakeq.data.procedural import draw


@cache
def face(index: int, size: int = 128) -> np.ndarray:
    """Drawn face number ``index``, a real one, uint8 [size, size, 3]."""
    return draw(2 * index, seed=3, size=size).image


def backdrop(height: int = 240, width: int = 320) -> np.ndarray:
    """A wall lit from the left, uint8 [height, width, 3]."""
    light = np.linspace(150, 60, width).astype(np.uint8)
    return np.broadcast_to(light[None, :, None] + np.uint8([0, 10, 20]), (height, width, 3)).copy()


def scene(index: int, left: int, top: int, *, height: int = 240, width: int = 320) -> np.ndarray:
    """A drawn face somewhere on the wall."""
    frame = backdrop(height, width)
    frame[top : top + 128, left : left + 128] = face(index)
    return frame


def moving_face(count: int) -> list[np.ndarray]:
    """Frames in which a face crosses the wall; other images of the same two people take turns."""
    return [scene(number % 4, 20 + 4 * number, 60) for number in range(count)]


def moving_square(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Small frames that differ much, for decoders: a shifting pattern, a square, the number as a grey."""
    pattern = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    pattern = pattern.repeat(8, axis=0).repeat(8, axis=1)
    frames = []
    for number in range(count):
        frame = np.roll(pattern, 3 * number, axis=1)
        frame[:8, :8] = number
        frame[20:32, 5 * number % (width - 12) :][:, :12] = (255, 7 * number % 256, 0)
        frames.append(frame)
    return frames


def write_video(
    path: Path,
    frames: Sequence[np.ndarray],
    codec: str = "ffv1",
    pixel_format: str = "bgr0",
    *,
    container: dict[str, str] | None = None,
    **options: str,
) -> Path:
    """Encode frames (by default without loss); ``container`` and ``options`` go to FFmpeg."""
    with av.open(str(path), "w", container_options=container or {}) as output:
        stream = output.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixel_format
        for frame in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        output.mux(stream.encode())
    return path
