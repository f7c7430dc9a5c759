"""Crops the faces of one video or image into a folder: decode, find, crop, save."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any, Protocol

import numpy as np
from PIL import Image

from brevitas_defakeq.data.frame_selection import DEFAULT_FRAMES
from brevitas_defakeq.data.video import FRAME_CHOICES, Frame, read_frames
from brevitas_defakeq.imaging.crop import Crop
from brevitas_defakeq.imaging.image_files import load_image
from brevitas_defakeq.imaging.image_formats import image_suffixes
from brevitas_defakeq.runtime.align import TEMPLATE_SIDE, face_crop
from brevitas_defakeq.runtime.face_box import Face
from brevitas_defakeq.utils.errors import UserError

KEPT_FACES = ("largest", "all")
#: PNG's fastest level: 4 times as fast as its default for a tenth more bytes.
_COMPRESSION = 1
#: Decoded frames that may wait for the face finder, for each of its threads.
_WAITING = 2


class UnusableFile(UserError):
    """A video or image that cannot be read."""


class Finder(Protocol):
    """Finds faces, as `runtime.yunet.FaceFinder` does; used by several threads at once."""

    version: str

    def faces(self, pixels: np.ndarray) -> list[Face]:
        """The faces in uint8 RGB pixels [H, W, 3], the largest first."""


@dataclass(frozen=True)
class CropSettings:
    """Which frames of a video are searched, and how their faces are cropped.

    Attributes:
        crop: how faces are cropped; "whole" looks for none and keeps whole frames.
        frames: at most so many frames of a video are searched, from 1.
        choose: "even" spreads them over the video, "first" uses the first ones.
        faces: which faces of a frame are kept, "largest" or "all".
        size: the side of aligned crops in pixels, from 16.
    """

    crop: Crop
    frames: int = DEFAULT_FRAMES
    choose: str = "even"
    faces: str = "largest"
    size: int = TEMPLATE_SIDE

    def __post_init__(self) -> None:
        if self.frames < 1 or self.choose not in FRAME_CHOICES:
            raise UserError(
                f"frames={self.frames}, choose={self.choose!r}: give 1 or more, "
                f"and {' or '.join(FRAME_CHOICES)}"
            )
        if self.faces not in KEPT_FACES:
            raise UserError(f"faces={self.faces!r} is not known; choose {' or '.join(KEPT_FACES)}")
        if self.size < 16:
            raise UserError(f"size={self.size}: crops have sides of 16 pixels or more, as in 256")

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


class FaceCropper:
    """Crops the faces of videos; a pool of threads searches the frames that the callers decode.

    Several threads may call `crop_file` at once. Leaving the context ends the pool.
    """

    def __init__(self, settings: CropSettings, finder: Finder | None, workers: int) -> None:
        self._settings, self._finder = settings, finder
        self._pool = ThreadPoolExecutor(workers)
        self._slots = BoundedSemaphore(_WAITING * workers)

    def __enter__(self) -> FaceCropper:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def crop_file(self, path: Path, folder: Path, threads: int) -> tuple[int, list[dict[str, Any]]]:
        """Save the crops of one video or image to ``folder``, decoding with ``threads`` threads.

        Returns:
            The number of searched frames, and a record of each crop: ``file``, ``frame``, and (unless whole
            frames are kept) the face's ``box``, ``score`` and ``points``; by frame, larger faces first.

        Raises:
            UnusableFile: the file cannot be read.
            OSError: the folder cannot be written.
        """
        jobs: list[Future[list[dict[str, Any]]]] = []
        try:
            for frame in frames_of(path, self._settings, threads):
                self._slots.acquire()
                job = self._pool.submit(self._crop_frame, frame, folder)
                job.add_done_callback(lambda _: self._slots.release())
                jobs.append(job)
        except UserError as error:
            raise UnusableFile(str(error)) from error
        finally:
            wait(jobs)  # whatever happens, nothing is written to the folder after this
        crops = [crop for job in jobs for crop in job.result()]
        return len(jobs), sorted(crops, key=lambda crop: crop["frame"])

    def _crop_frame(self, frame: Frame, folder: Path) -> list[dict[str, Any]]:
        """Save the crops of one frame and return their records."""
        stem = f"{frame.number:03d}"
        if self._finder is None:
            _save(frame.pixels, folder / f"{stem}.png")
            return [{"file": f"{stem}.png", "frame": frame.number}]
        faces = self._finder.faces(frame.pixels)
        kept = faces[:1] if self._settings.faces == "largest" else faces
        crops = []
        for rank, face in enumerate(kept):
            name = f"{stem}-{rank}.png" if rank else f"{stem}.png"
            _save(face_crop(frame.pixels, face, self._settings.crop, self._settings.size), folder / name)
            crops.append({"file": name, "frame": frame.number, **_rounded(face)})
        return crops


def frames_of(path: Path, settings: CropSettings, threads: int = 1) -> Iterator[Frame]:
    """The frames of a video to search, or an image as its only frame; UserError for unreadable files."""
    if is_image_file(path):
        yield Frame(0, np.asarray(load_image(path)))
        return
    yield from read_frames(path, settings.frames, choose=settings.choose, threads=threads)


def is_image_file(path: Path) -> bool:
    """Whether a file's suffix is that of an image; all other files are treated as videos."""
    return path.name.lower().endswith(image_suffixes())


def _rounded(face: Face) -> dict[str, Any]:
    """The face's record for the index, rounded: pixels to 0.01, scores to 0.001."""
    points = None if face.points is None else [[round(value, 2) for value in point] for point in face.points]
    return {"box": [round(side, 2) for side in face.box], "score": round(face.score, 3), "points": points}


def _save(pixels: np.ndarray, path: Path) -> None:
    Image.fromarray(pixels).save(path, "PNG", compress_level=_COMPRESSION)
