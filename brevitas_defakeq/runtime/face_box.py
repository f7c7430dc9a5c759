"""A face found in an image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

Point = tuple[float, float]


@dataclass(frozen=True)
class Face:
    """One face, in pixels of its image: x to the right, y down, 0 at the first pixel.

    ``box`` is left, top, right, bottom and may reach beyond the image; ``score`` how sure the finder is,
    0..1; ``points`` the eye on the image's left, the other eye, the nose, the corner of the mouth on the
    image's left, the other corner; None where a finder gives boxes only.
    """

    box: tuple[float, float, float, float]
    score: float
    points: tuple[Point, Point, Point, Point, Point] | None = None

    @property
    def width(self) -> float:
        return self.box[2] - self.box[0]

    @property
    def height(self) -> float:
        return self.box[3] - self.box[1]

    @property
    def centre(self) -> Point:
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2


def largest_first(faces: Iterable[Face]) -> list[Face]:
    """The faces by the area of their boxes, the largest first."""
    return sorted(faces, key=lambda face: face.width * face.height, reverse=True)


def from_row(row: np.ndarray) -> Face:
    """A face from 15 numbers: box, five points, score."""
    left, top, right, bottom, *places, score = row.tolist()
    return Face((left, top, right, bottom), score, tuple(zip(places[::2], places[1::2], strict=True)))
