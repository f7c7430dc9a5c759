"""A face found in an image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

Point = tuple[float, float]


@dataclass(frozen=True)
class Face:
    """One face, in pixels of its image: x to the right, y down, 0 at the first pixel.

    Attributes:
        box: left, top, right, bottom; may reach beyond the image.
        score: the finder's confidence, 0..1.
        points: left eye, right eye, nose, left and right corner of the mouth, left and right as in the image;
            None where a finder gives boxes only.
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
    """The faces sorted by the area of their boxes, the largest first."""
    return sorted(faces, key=lambda face: face.width * face.height, reverse=True)


def face_from_row(row: np.ndarray) -> Face:
    """A face from a row [15]: box, five points (x, y), score."""
    left, top, right, bottom, x0, y0, x1, y1, x2, y2, x3, y3, x4, y4, score = row.tolist()
    points = ((x0, y0), (x1, y1), (x2, y2), (x3, y3), (x4, y4))
    return Face((left, top, right, bottom), score, points)
