"""From one video or picture to its crops in a folder: decode, find, cut, save."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any, Protocol

import numpy as np
from PIL import Image

from brevitas_defakeq.data.sources import IMAGE_SUFFIXES
from brevitas_defakeq.data.video import CHOICES, Frame, read_frames
from brevitas_defakeq.imaging.crop import Crop
from brevitas_defakeq.imaging.image_files import load_image
from brevitas_defakeq.runtime.align import face_crop
from brevitas_defakeq.runtime.face_box import Face
from brevitas_defakeq.utils.errors import UserError

FACES = ("largest", "all")
#: PNG's quickest: 4 times as quick as its default for a tenth more bytes.
_COMPRESSION = 1
#: Decoded frames that may wait for a thread to look for faces in them, for each such thread.
_WAITING = 2


class UnusableFile(UserError):
    """A video or picture that cannot be read."""


class Finder(Protocol):
    """What finds faces, as `runtime.yunet.FaceFinder` does; threads use it side by side."""

    version: str

    def faces(self, pixels: np.ndarray) -> list[Face]: ...


@dataclass(frozen=True)
class Cutting:
    """What is cut out of each video.

    Attributes:
        crop: how faces are cut out; "whole" looks for none and keeps whole frames.
        frames: how many frames of a video are looked at, at most, from 1.
        choose: "even" spreads them over the video, "first" takes the first ones.
        faces: of a frame's faces the "largest", or "all".
        size: the side of aligned crops in pixels, from 16.
    """

    crop: Crop
    frames: int = 32  #: what DeepfakeBench extracts
    choose: str = "even"
    faces: str = "largest"
    size: int = 256

    def __post_init__(self) -> None:
        if self.frames < 1 or self.choose not in CHOICES:
            raise UserError(
                f"frames={self.frames}, choose={self.choose!r}: give 1 or more, and {' or '.join(CHOICES)}"
            )
        if self.faces not in FACES:
            raise UserError(f"faces={self.faces!r} is not known; choose {' or '.join(FACES)}")
        if self.size < 16:
            raise UserError(f"size={self.size}: crops have sides of 16 pixels or more, as in 256")

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


class Cutter:
    """Cuts videos up; a pool of threads looks at their frames while the callers decode.

    Several threads may call `cut` at once. A context: leaving it ends the pool.
    """

    def __init__(self, cutting: Cutting, finder: Finder | None, workers: int) -> None:
        self._cutting, self._finder = cutting, finder
        self._pool = ThreadPoolExecutor(workers)
        self._slots = BoundedSemaphore(_WAITING * workers)

    def __enter__(self) -> Cutter:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def cut(self, path: Path, folder: Path, threads: int) -> tuple[int, list[dict[str, Any]]]:
        """Save the crops of one video or picture to ``folder``, decoding with ``threads`` threads.

        Returns how many frames were looked at, and for every crop ``file``, ``frame``, and where a face was
        looked for its ``box``, ``score`` and ``points``, ordered by frame, larger faces first. Raises
        UnusableFile if the file cannot be read, OSError if the folder cannot be written.
        """
        jobs: list[Future] = []
        try:
            for frame in frames_of(path, self._cutting, threads):
                self._slots.acquire()
                job = self._pool.submit(self._cut_frame, frame, folder)
                job.add_done_callback(lambda _: self._slots.release())
                jobs.append(job)
        except UserError as error:
            raise UnusableFile(str(error)) from error
        finally:
            wait(jobs)  # whatever happens, nothing is written to the folder after this
        crops = [crop for job in jobs for crop in job.result()]
        return len(jobs), sorted(crops, key=lambda crop: crop["frame"])

    def _cut_frame(self, frame: Frame, folder: Path) -> list[dict[str, Any]]:
        """Save the crops of one frame and describe them."""
        stem = f"{frame.number:03d}"
        if self._finder is None:
            _save(frame.pixels, folder / f"{stem}.png")
            return [{"file": f"{stem}.png", "frame": frame.number}]
        faces = self._finder.faces(frame.pixels)
        kept = faces[:1] if self._cutting.faces == "largest" else faces
        crops = []
        for rank, face in enumerate(kept):
            name = f"{stem}-{rank}.png" if rank else f"{stem}.png"
            _save(face_crop(frame.pixels, face, self._cutting.crop, self._cutting.size), folder / name)
            crops.append({"file": name, "frame": frame.number, **_rounded(face)})
        return crops


def frames_of(path: Path, cutting: Cutting, threads: int = 1) -> Iterator[Frame]:
    """The frames of a video that are looked at, or the one of a picture; UserError if it cannot be read."""
    if is_picture(path):
        yield Frame(0, np.asarray(load_image(path)))
        return
    yield from read_frames(path, cutting.frames, choose=cutting.choose, threads=threads)


def is_picture(path: Path) -> bool:
    """Whether a file is a picture, by its name; all else is taken for a video."""
    return path.name.lower().endswith(IMAGE_SUFFIXES)


def _rounded(face: Face) -> dict[str, Any]:
    """The face for the index: hundredths of pixels, thousandths of score."""
    points = None if face.points is None else [[round(value, 2) for value in point] for point in face.points]
    return {"box": [round(side, 2) for side in face.box], "score": round(face.score, 3), "points": points}


def _save(pixels: np.ndarray, path: Path) -> None:
    Image.fromarray(pixels).save(path, "PNG", compress_level=_COMPRESSION)
