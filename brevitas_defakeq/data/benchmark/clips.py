"""What reading a benchmark's data set gives, whatever its layout: its videos, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from brevitas_defakeq.data.frame_selection import chosen
from brevitas_defakeq.data.listing import Listing, Rows
from brevitas_defakeq.data.missing_files import Missing
from brevitas_defakeq.data.selection import SPLITS, Selection
from brevitas_defakeq.imaging.sample import Video


@dataclass(frozen=True)
class Clip:
    """A video: its frames' folder and names, or (without names) its file.

    `kind` is DeepfakeBench's name of the label, `splits` all that the video stands in.
    """

    dataset: str
    kind: str
    label: int
    compression: str
    name: str
    splits: tuple[str, ...]
    place: Path
    frames: Sequence[str] = ()

    @property
    def key(self) -> str:
        """Its name within the data set, as in "FF-DF/c23/953_974"."""
        return "/".join(filter(None, (self.kind, self.compression, self.name)))

    @property
    def manipulation(self) -> str:
        """How a fake was made; empty where the label's name says no more than that it is one (DFDC_Fake)."""
        return "" if not self.label or self.kind.lower().endswith("fake") else self.kind


@dataclass
class Reading:
    """Videos, and what is wrong with them.

    `missing`: files that are named and not there; `empty`: videos without a frame; `unlisted`: how many
    videos no official list names; `no_list`: what to do about a list that is not there.
    """

    clips: list[Clip]
    missing: Missing
    empty: list[str] = field(default_factory=list)
    unlisted: int = 0
    no_list: str = ""


def listing_of(clips: Iterable[Clip], selection: Selection) -> Listing:
    """The chosen frames of the videos, in the videos' order."""
    rows = Rows()
    for clip in clips:
        names = chosen(clip.frames, selection.frames, first=selection.first)
        rows.add(
            str(clip.place), names, label=clip.label, video=clip.key, dataset=clip.dataset,
            manipulation=clip.manipulation,
        )  # fmt: skip
    return rows.listing()


def videos_of(clips: Iterable[Clip], selection: Selection) -> list[Video]:
    """The video files; where all splits are wanted, each says its own ("" where it stands in all three)."""
    return [
        Video(clip.place, clip.label, clip.key, clip.dataset, clip.manipulation, _split(clip, selection))
        for clip in clips
    ]


def _split(clip: Clip, selection: Selection) -> str:
    if selection.split != "all":
        return selection.split
    return "" if clip.splits == SPLITS else next(iter(reversed(clip.splits)), "")
