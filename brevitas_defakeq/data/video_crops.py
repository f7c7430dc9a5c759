"""The crops of one video, and why there may be none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from brevitas_defakeq.imaging.sample import Sample, Video


@dataclass(frozen=True)
class VideoCrops:
    """The crops of one video or image.

    Attributes:
        source: the video.
        folder: the folder of its crops and their index (`crop_cache.read_crop_index`).
        files: the crops' names, sorted by frame.
        frames: number of searched frames.
        without_face: number of these without a face.
        problem: why the file cannot be used; None if it can.
    """

    source: Video
    folder: Path
    files: tuple[str, ...]
    frames: int
    without_face: int
    problem: str | None = None

    @property
    def samples(self) -> list[Sample]:
        """The crops as samples, with the video's label, name, data set and manipulation."""
        source = self.source
        about = (source.label, source.name, source.dataset, source.manipulation)
        return [Sample(self.folder / file, *about) for file in self.files]
