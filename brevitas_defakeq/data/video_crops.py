"""What became of a listed video: its crops, and what was left out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from brevitas_defakeq.data.sources import Sample


class Listed(Protocol):
    """A video or picture to cut: its file, label (0 real, 1 fake, None unknown), and where it belongs."""

    path: Path
    label: int | None
    name: str
    dataset: str
    manipulation: str | None
    split: str | None


@dataclass(frozen=True)
class VideoCrops:
    """What became of one video or picture.

    Attributes:
        source: the video, as it was listed.
        folder: where its crops and their index (`crop_cache.read_index`) lie.
        files: the crops' names, by frame.
        frames: how many frames were looked at.
        without_face: in how many of them no face was found.
        problem: why the file cannot be used; None if it can.
    """

    source: Listed
    folder: Path
    files: tuple[str, ...]
    frames: int
    without_face: int
    problem: str | None = None

    @property
    def samples(self) -> list[Sample]:
        """The crops with what was said of the video."""
        source = self.source
        about = (source.label, source.name, source.dataset, source.manipulation or "")
        return [Sample(self.folder / file, *about) for file in self.files]
