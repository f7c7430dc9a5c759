"""The videos of a benchmark's data set, in whatever layout, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from brevitas_defakeq.data.frame_selection import chosen
from brevitas_defakeq.data.left_out import LeftOut
from brevitas_defakeq.data.listing import Listing, ListingBuilder
from brevitas_defakeq.data.missing_files import MissingFiles
from brevitas_defakeq.data.selection import SPLITS, Selection
from brevitas_defakeq.imaging.sample import Video


@dataclass(frozen=True)
class Clip:
    """A video of a benchmark.

    Attributes:
        dataset: the data set's name.
        label_name: DeepfakeBench's name of the label.
        label: 0 real, 1 fake.
        compression: raw, c23 or c40; empty where there is none.
        name: the video's name without suffix.
        splits: all splits that contain it.
        path: the folder of its frames, or (without frames) its file.
        frames: the frames' file names.
    """

    dataset: str
    label_name: str
    label: int
    compression: str
    name: str
    splits: tuple[str, ...]
    path: Path
    frames: Sequence[str] = ()

    @property
    def key(self) -> str:
        """Its name within the data set, as in "FF-DF/c23/953_974"."""
        return "/".join(filter(None, (self.label_name, self.compression, self.name)))

    @property
    def manipulation(self) -> str:
        """How a fake was made; empty where the label's name is no more than fake (DFDC_Fake)."""
        return "" if not self.label or self.label_name.lower().endswith("fake") else self.label_name


@dataclass
class DatasetContents:
    """The videos of a data set, and what is wrong with them.

    Attributes:
        clips: the videos.
        missing: listed files that do not exist.
        empty: videos without frames.
        unlisted: how many videos are in no official list.
        no_list: what to do about a missing list; empty if there is none.
        left_out: other files in its folders.
    """

    clips: list[Clip]
    missing: MissingFiles
    empty: list[str] = field(default_factory=list)
    unlisted: int = 0
    no_list: str = ""
    left_out: LeftOut = field(default_factory=LeftOut)


def listing_of(clips: Iterable[Clip], selection: Selection) -> Listing:
    """The selected frames of the videos, in the videos' order."""
    rows = ListingBuilder()
    for clip in clips:
        names = chosen(clip.frames, selection.frames, first=selection.first)
        rows.add(
            str(clip.path), names, label=clip.label, video=clip.key, dataset=clip.dataset,
            manipulation=clip.manipulation,
        )  # fmt: skip
    return rows.listing()


def videos_of(clips: Iterable[Clip], selection: Selection) -> list[Video]:
    """The video files; of all splits, each has its own split ("" for a video in all three)."""
    return [
        Video(clip.path, clip.label, clip.key, clip.dataset, clip.manipulation, _split(clip, selection))
        for clip in clips
    ]


def _split(clip: Clip, selection: Selection) -> str:
    if selection.split != "all":
        return selection.split
    return "" if clip.splits == SPLITS else next(iter(reversed(clip.splits)), "")
